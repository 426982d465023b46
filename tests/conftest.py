import lib  # noqa: F401  mends Chainer before a test imports it
