"""Running the scripts as a user would."""

import atexit
import functools
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Code that runs before each script, which fixtures may replace.
PRELUDE = ''


def run_script(script, *arguments, **options):
    """Runs a script such as ``train.py``, or a module such as ``data.draw_scenes``.

    Args:
        script (str): The script or module.
        arguments: Its arguments.
        options: See :func:`run`.

    Returns:
        subprocess.CompletedProcess: The finished process, with its output as text.
    """
    script = [os.path.join(ROOT, script)] if script.endswith('.py') else ['-m', script]
    return run([*script, *map(str, arguments)], **options)


def run_python(code, *arguments, **options):
    """Runs code like a script; see :func:`run_script`."""
    return run(['-c', code, *map(str, arguments)], **options)


def run(command, cwd=None, forked=True, seconds=300, memory=None):
    """Runs Python.

    Args:
        command (list of str): What to run, and its arguments.
        cwd (str or pathlib.Path): Where to run it; by default in the root of the project.
        forked (bool): Whether to run it in a fork of :mod:`tests.helpers.fork_server`, which is
            fast, instead of in a new interpreter.
        seconds (int): Time after which it is killed.
        memory (int): Bytes that a fork may allocate; unlimited by default.

    Returns:
        subprocess.CompletedProcess: The finished process, with its output as text.
    """
    cwd = str(cwd or ROOT)
    if not forked:
        return subprocess.run(
            [sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=seconds
        )
    server = _fork_server(os.getpid())
    request = {'environment': dict(os.environ), 'seconds': seconds, 'memory': memory}
    request |= {'command': command, 'cwd': cwd, 'prelude': PRELUDE}
    print(json.dumps(request), file=server.stdin, flush=True)
    return subprocess.CompletedProcess(command, *json.loads(server.stdout.readline()))


@functools.cache
def _fork_server(pid):
    """Starts the server of a process, which ends with it."""
    server = subprocess.Popen(
        [sys.executable, '-m', 'tests.helpers.fork_server'],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that Ctrl-C ends the tests alone
    )
    atexit.register(server.communicate)  # which closes its input, and so ends it
    return server
