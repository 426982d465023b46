"""Everything but the networks: data sets, features, decoding, training, evaluation."""

from lib import chainer_compat

chainer_compat.apply()

VERSION = '1.0.0'
