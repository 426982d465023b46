"""Running scripts in forked processes, which need not import anything, with limits."""

import importlib
import io
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

from tests.helpers.scripts import ROOT

# Bytes that a script may allocate, and seconds that it may take.
MEMORY_LIMIT, TIME_LIMIT = 3 << 30, 30


class Outcome(NamedTuple):
    """How a script ended: its exit code or minus a signal, and what it printed."""

    code: int
    stdout: str
    stderr: str


def run_forked(command, folder, prepare=lambda: None):
    """Runs a script in a forked process, whose memory and time are limited.

    Args:
        command (list of str): The script and its arguments.
        folder (pathlib.Path): Where to run it.
        prepare (callable): Called in the process before the script.

    Returns:
        Outcome: How it ended.
    """
    outputs = [folder / 'stdout.txt', folder / 'stderr.txt']
    pid = os.fork()
    if not pid:
        _run_and_exit(command, folder, outputs, prepare)
    _, status = os.waitpid(pid, 0)
    texts = [path.read_text(errors='replace') for path in outputs]
    for path in outputs:
        path.unlink()
    return Outcome(os.waitstatus_to_exitcode(status), *texts)


def _run_and_exit(command, folder, outputs, prepare):
    code = 1
    try:
        for number, path in enumerate(outputs, start=1):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, number)
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(number, 'w', closefd=False), write_through=True)
            for number in (1, 2)
        )
        os.chdir(folder)
        used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_LIMIT,) * 2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(TIME_LIMIT)
        script, *arguments = command
        module = importlib.import_module(script.removesuffix('.py'))
        sys.argv = [os.path.join(ROOT, script), *arguments]
        prepare()
        module.run_main(module.main)
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
