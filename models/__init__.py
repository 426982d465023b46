"""The networks, by the names that ``train.py --network`` and model files give them.

A network is a :class:`models.network.Network`: called with a batch of captions it returns the loss,
and it has ``start(features)`` and ``step(tokens, state)``. To add one, write a file like
:mod:`models.plain` and a line of :data:`NETWORKS`.
"""

import lib  # noqa: F401  first, since it patches Chainer
from models.plain import PlainShowAndTell
from models.show_and_tell import ShowAndTell

NETWORKS = {'show_and_tell': ShowAndTell, 'plain': PlainShowAndTell}
