"""Runs scripts in forks of a process that has imported all that they need.

A script then starts in hundredths of a second instead of one or two seconds. Standard input takes
requests and standard output gives results, each JSON in a line; :func:`tests.helpers.scripts.run`
sends them.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import signal
import sys
import tempfile
import warnings
from pathlib import Path

import numpy

import lib
import models

# Imported late, or by a library.
LAZY_MODULES = (
    'chainer.links.caffe',
    'matplotlib.backends.backend_agg',
    'scipy.io',
    'scipy.linalg',
    'scipy.sparse.linalg',
)


def import_everything():
    """Imports what scripts import."""
    for package in lib, models:
        for module in pkgutil.walk_packages(package.__path__, f'{package.__name__}.'):
            importlib.import_module(module.name)
    for name in LAZY_MODULES:
        importlib.import_module(name)


def run(command, prelude, cwd, environment, seconds, memory):
    """Does in this process what a Python that is started with a command does, and exits."""
    code = 1
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        numpy.random.seed()
        signal.alarm(seconds)
        if memory is not None:
            used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + memory,) * 2)
        exec(prelude, {})
        run_as_main(*command)
        code = 0
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # Neither what the server would do at its end, nor what it would do next.
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def run_as_main(script, *arguments):
    """Runs a script, or a module or code after ``-m`` or ``-c``, as the main program."""
    if script == '-m':
        sys.argv = list(arguments)
        runpy.run_module(arguments[0], run_name='__main__', alter_sys=True)
    elif script == '-c':
        sys.argv = ['-c', *arguments[1:]]
        exec(arguments[0], {'__name__': '__main__'})
    else:
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name='__main__')


def serve():
    """Runs scripts, one after the other, until standard input ends."""
    import_everything()
    gc.freeze()  # or each collection in a fork would copy the memory of what is imported
    nothing = open(os.devnull)  # noqa: SIM115
    for line in sys.stdin:
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            with warnings.catch_warnings():
                # From Python 3.12 on, of threads, such as OpenBLAS's, which fork as they should.
                warnings.simplefilter('ignore', DeprecationWarning)
                pid = os.fork()
            if not pid:
                for number, file in enumerate([nothing, stdout, stderr]):
                    os.dup2(file.fileno(), number)
                run(**json.loads(line))
            _, status = os.waitpid(pid, 0)
            texts = []
            for file in stdout, stderr:
                file.seek(0)
                texts.append(file.read().decode(errors='replace'))
        print(json.dumps([os.waitstatus_to_exitcode(status), *texts]), flush=True)


if __name__ == '__main__':
    serve()
