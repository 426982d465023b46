"""Speed, measured against the programs people would write instead, and how captions fail."""

import lib  # noqa: F401  patches Chainer
