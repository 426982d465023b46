"""What surrounds the networks: data, decoding, checkpoints and the command line."""

from lib import chainer_compat  # noqa: F401
