"""Speed, measured against the programs people would write instead."""

from lib import chainer_compat  # noqa: F401
