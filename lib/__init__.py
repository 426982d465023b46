"""Everything but the networks: data sets, features, decoding, training, evaluation."""

from lib import startup

startup.exit_quietly_on_signals()

# isort: split
from lib import chainer_compat  # noqa: E402

chainer_compat.apply()
