"""Processes that work on one task together, connected by ChainerMN over MPI."""

import importlib.util
import itertools
import os
import sys
import time
import warnings
from collections import defaultdict

import numpy

from lib.errors import InputError, InputWarning

# ChainerMN's ways of averaging gradients.
COMMUNICATORS = 'naive', 'flat', 'pure_nccl'
# Seconds for which another process waits before it reports an error, so that the main process may
# report the same one first.
ERROR_DELAY = 2
# Seconds in which mpiexec forwards what has been printed, before it ends all processes.
OUTPUT_DELAY = 0.3
# Where the number of a process stands before it is connected with the others.
RANK_VARIABLES = 'OMPI_COMM_WORLD_RANK', 'PMI_RANK', 'SLURM_PROCID'
# Where MPI leaves the number of processes.
SIZE_VARIABLES = 'OMPI_COMM_WORLD_SIZE', 'PMI_SIZE'


class Processes:
    """The processes that run a script, of which this is one.

    A method that exchanges something must be called by all of them, in the same order.

    Args:
        communicator (chainermn.communicators.CommunicatorBase): Connects them; None if this
            process works alone.

    Attributes:
        communicator: As given.
        rank (int): Number of this process.
        size (int): Number of processes.
        local_rank (int): Number of this process among those on its machine.
        local_size (int): Number of processes on its machine.
    """

    def __init__(self, communicator=None):
        self.communicator = communicator
        is_alone = communicator is None
        self.rank = 0 if is_alone else communicator.rank
        self.size = 1 if is_alone else communicator.size
        self.local_rank = 0 if is_alone else communicator.intra_rank
        self.local_size = 1 if is_alone else communicator.intra_size

    @property
    def is_main(self):
        """Whether this is the one that prints and writes files."""
        return self.rank == 0

    def local_gpu(self, first):
        """Returns the number of this process's GPU, if those from ``first`` on are used."""
        return first + self.local_rank if first >= 0 else first

    def share_of(self, items):
        """Returns what this process takes of a list or an array: every ``size``-th item."""
        return items[self.rank :: self.size]

    def wait_for_all(self):
        """Returns when all processes have called it."""
        self.all_gather(None)

    def all_gather(self, value):
        """Exchanges the value that each process has; returns a list of them."""
        return [value] if self.size == 1 else self.communicator.mpi_comm.allgather(value)

    def merge_shares(self, share):
        """Exchanges the results for the shares of :meth:`share_of`.

        Returns:
            list: The results for all items, in their order.
        """
        shares = self.all_gather(share)
        results = [None] * sum(map(len, shares))
        for rank, items in enumerate(shares):
            results[rank :: self.size] = items
        return results

    def compute_on_main(self, compute, *arguments):
        """Exchanges what a function returns, which only the main process calls."""
        value = compute(*arguments) if self.is_main else None
        return value if self.size == 1 else self.communicator.mpi_comm.bcast(value)

    def draw_order(self, order, position):
        """Draws a random order for one of Chainer's iterators, the same in all processes.

        It is the one that Chainer draws by default.

        Args:
            order (array): The last order, (n,).
            position (int): How far the iterator has come in it.

        Returns:
            array: (n,), integers.
        """
        return self.compute_on_main(numpy.random.permutation, len(order))

    def mean(self, observation):
        """Exchanges observations.

        Args:
            observation (dict): From names to pairs of a float and its weight.

        Returns:
            dict: From names to the weighted means over all processes.
        """
        if self.size == 1:  # not multiplied and divided by the weight, which rounds
            return {name: value for name, (value, _) in observation.items()}
        pairs_of = defaultdict(list)
        for name, pair in itertools.chain(*(each.items() for each in self.all_gather(observation))):
            pairs_of[name].append(pair)
        return {name: weighted_mean(*zip(*pairs)) for name, pairs in pairs_of.items()}


def weighted_mean(values, weights) -> float:
    """Returns the mean of floats, in double precision."""
    return float(numpy.average(numpy.array(values, 'float64'), weights=weights))


# The processes of this program, which end together.
_connected = Processes()


def connect_processes(communicator: str | None) -> Processes:
    """Connects this process with the others that ``mpiexec`` has started.

    From now on only the main process prints to standard output.

    Args:
        communicator (str): One of ``COMMUNICATORS``; None lets the process work alone.

    Raises:
        InputError: If mpi4py, MPI or, for ``pure_nccl``, NCCL is not installed, or several
            processes were started without a communicator.
    """
    global _connected
    if communicator is None:
        sizes = (os.environ.get(name, '1') for name in SIZE_VARIABLES)
        if any(size not in ('', '1') for size in sizes):
            raise InputError(
                'is missing: mpiexec has started several processes; naive is for CPUs',
                'communicator',
            )
        return _connected
    if importlib.util.find_spec('mpi4py') is None:
        raise InputError(f'{communicator}: needs mpi4py; make setup MPI=1', 'communicator')
    try:
        import chainermn
        import chainermn.global_except_hook

        # First one that always works, so that the others may fail in an orderly way.
        _connected = Processes(chainermn.create_communicator('naive'))
        if communicator != 'naive':
            _connected = Processes(chainermn.create_communicator(communicator))
    except (ImportError, RuntimeError) as error:
        raise InputError(f'{communicator}: cannot be used ({error})', 'communicator') from error
    if _connected.size > 1:
        chainermn.global_except_hook.add_hook()
    if not _connected.is_main:
        sys.stdout = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115
        warnings.filterwarnings('ignore', category=InputWarning)
    return _connected


def wait_before_error():
    """Gives the main process the time to report an error that all processes have."""
    ranks = (os.environ.get(name, '0') for name in RANK_VARIABLES)
    if not _connected.is_main or any(rank not in ('', '0') for rank in ranks):
        time.sleep(ERROR_DELAY)


def end_all(exit_code):
    """Ends all processes of the program, some of which may wait for this one."""
    if _connected.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(OUTPUT_DELAY)
        _connected.communicator.mpi_comm.Abort(exit_code)
