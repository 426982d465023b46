"""Speed, measured against the programs people would write instead."""

import lib  # noqa: F401  patches Chainer
