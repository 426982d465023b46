"""What a script does before its imports, which take a second or two."""

import os
import signal
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Exit codes after signals, 128 and their number. A hangup counts as a termination, and so does
# SIGUSR1, which batch systems and mpiexec pass on to all processes.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143, signal.SIGUSR1: 143}
SCRIPTS = (
    'preprocess_vocab.py', 'extract_features.py', 'train.py', 'generate_caption.py', 'evaluate.py',
    'serve.py', 'index_captions.py',
)  # fmt: skip


def exit_quietly_on_signals():
    """Lets signals end a script, without a traceback, until ``run_main`` handles them.

    Other programs that import ``lib`` keep their own handler.
    """
    script = getattr(sys.modules['__main__'], '__file__', None)
    if script is not None and os.path.abspath(script) in [os.path.join(ROOT, s) for s in SCRIPTS]:
        for number, exit_code in EXIT_CODES.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_, code=exit_code: os._exit(code))
