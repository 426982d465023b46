"""What a script does before its imports, which take a second or two."""

import os
import signal
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def exit_quietly_on_signals():
    """Lets Ctrl-C and SIGTERM end a script, without a traceback, until ``run_main`` handles them.

    Other programs that import ``lib`` keep their own handler.
    """
    script = getattr(sys.modules['__main__'], '__file__', None) or ''
    if os.path.dirname(os.path.abspath(script)) == ROOT:
        for number in signal.SIGINT, signal.SIGTERM:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, frame: os._exit(128 + number))
