"""Ending a training run at the end of an iteration when a signal asks for it."""

import contextlib
import os
import signal

from lib.cli.run import EXIT_CODES

NOTICE = b'stopping after this iteration; press Ctrl-C again to stop immediately\n'


class Interruption:
    """Notices Ctrl-C, SIGTERM, SIGHUP or SIGUSR1 in a ``with`` statement.

    After that, Ctrl-C acts as usual. The others are ignored, since they may be sent twice: a hangup
    by the shell and by the kernel, a termination by a batch system.

    Args:
        processes (lib.processes.Processes): Those that are interrupted together.

    Attributes:
        exit_code (int): The exit code that the signal calls for, None if there was none.
    """

    def __init__(self, processes):
        self.exit_code = self._noticed = None
        self._processes, self._handlers = processes, {}

    def __enter__(self):
        for number in EXIT_CODES:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets SIGHUP
                self._handlers[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *exception):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def agree_to_stop(self):
        """Exchanges whether there was a signal; returns whether any process noticed one."""
        noticed = [code for code in self._processes.all_gather(self._noticed) if code is not None]
        # A signal that has just arrived is exchanged next time.
        if noticed:
            self.exit_code = max(noticed)
        return self.exit_code is not None

    def _notice(self, number, frame):
        if self._noticed is not None:
            return
        self._noticed = EXIT_CODES[number]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Not print, which may be interrupted in the middle of printing something else.
        with contextlib.suppress(OSError):
            os.write(2, NOTICE)
