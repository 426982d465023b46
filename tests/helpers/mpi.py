"""Running scripts in several processes."""

import importlib.util
import os
import shutil
import subprocess
import sys

from tests.helpers.scripts import ROOT

MPIEXEC = shutil.which('mpiexec', path=os.path.dirname(sys.executable)) or shutil.which('mpiexec')


def why_no_mpi():
    """Returns why scripts cannot be run in several processes, None if they can."""
    if importlib.util.find_spec('mpi4py') is None:
        return 'no mpi4py: make setup MPI=1'
    return None if MPIEXEC else 'no mpiexec'


def start_processes(n, *arguments):
    """Starts a script such as ``train.py``, or code, in n processes.

    Args:
        n (int): Number of processes.
        arguments (tuple): The script and its arguments, or ``-c``, code and its arguments.

    Returns:
        subprocess.Popen: The running ``mpiexec``.
    """
    script, *arguments = map(str, arguments)
    script = os.path.join(ROOT, script) if script.endswith('.py') else script
    # Open MPI refuses to run as root, and more processes than there are cores.
    allow = {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}
    # Looking for networks takes a second, and processes that wait would take a core each.
    one_machine = {'OMPI_MCA_btl': 'self,sm', 'OMPI_MCA_mpi_yield_when_idle': '1'}
    one_thread = {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(
        [MPIEXEC, '--oversubscribe', '-n', str(n), sys.executable, script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors='replace',
        cwd=ROOT,
        env=os.environ | allow | one_machine | one_thread,
    )


def run_processes(n, *arguments, timeout=120):
    """Runs processes until they end.

    Args:
        n, arguments: See :func:`start_processes`.
        timeout (int): Seconds after which they are killed.

    Returns:
        subprocess.CompletedProcess: The finished ``mpiexec``, with its output as text.
    """
    with start_processes(n, *arguments) as process:
        try:
            output = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, *output)
