"""The networks: Chainer links and the functions they are made of."""

from lib import chainer_compat

chainer_compat.apply()
