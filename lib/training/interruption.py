"""Ending a training run at the end of an iteration when a signal asks for it."""

import contextlib
import os
import signal

from lib.command_line import EXIT_CODES

NOTICE = b'stopping after this iteration; once more to stop at once\n'


class Interruption:
    """Notices Ctrl-C, SIGTERM or SIGHUP in a ``with`` statement; the next one acts as usual.

    Attributes:
        exit_code (int): The exit code that the signal calls for, None if there was none.
    """

    def __init__(self):
        self.exit_code = None
        self._handlers = {}

    def __enter__(self):
        for number in EXIT_CODES:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets SIGHUP
                self._handlers[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *exception):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _notice(self, number, frame):
        self.exit_code = EXIT_CODES[number]
        self.__exit__()
        # Not print, which may be interrupted in the middle of printing something else.
        with contextlib.suppress(OSError):
            os.write(2, NOTICE)
