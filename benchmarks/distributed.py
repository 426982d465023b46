"""Training in two processes, each with one thread, against one process with one thread or two.

    python -m benchmarks.distributed

Batches of COCO's shape, split between the processes. Prints tokens per second of all processes
together, and what the exchange of gradients takes.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import numpy

from benchmarks.workload import FEATURE_SIZE, Workload, caption_lengths
from lib.command_line import ArgumentParser, positive_int, run_main
from lib.processes import connect_processes
from lib.training.optimizers import make_optimizer
from models.show_and_tell import ShowAndTell
from tests.helpers.mpi import MPIEXEC
from tests.helpers.scripts import ROOT

BATCH_SIZE = 128
# Processes, and threads of each.
SETTINGS = (1, 1), (1, 2), (2, 1)


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument(
        '--rounds', type=positive_int, default=3, metavar='N', help='how often each is measured'
    )
    parser.add_argument(
        '--steps', type=positive_int, default=6, metavar='N', help='iterations of a measurement'
    )
    parser.add_argument(
        '--unsorted',
        action='store_true',
        help='divide batches as they are, not sorted by the lengths of captions, as train.py does',
    )
    parser.add_argument('--measure', action='store_true', help='measure, in these processes')
    return parser.parse_args()


def main():
    args = parse_args()
    if args.measure:
        measure(args)
        return
    rates, shares = {}, {}
    for _ in range(args.rounds):
        for setting in SETTINGS:
            rate, share, n_bytes = run(*setting, args.steps, args.unsorted)
            rates.setdefault(setting, []).append(rate)
            shares.setdefault(setting, []).append(share)
    print(f'{"processes":>9}{"threads":>9}{"tokens/s":>10}{"speed-up":>10}{"exchange":>10}')
    alone = rates[SETTINGS[0]]
    for (n, n_threads), values in rates.items():
        speed_up = statistics.median(rate / other for rate, other in zip(values, alone))
        share = statistics.median(shares[n, n_threads])
        print(
            f'{n:>9}{n_threads:>9}'
            f'{statistics.median(values):>10,.0f}{speed_up:>9.2f}x{share:>10.1%}'
        )
    print(f'gradients that each process sends in a step: {n_bytes / 1e6:.1f} MB')


def run(n_processes, n_threads, n_steps, is_unsorted):
    """Measures a setting in new processes.

    Returns:
        tuple: Tokens per second; the share of the time in which gradients are exchanged; and
        bytes of the gradients.
    """
    threads = {'OPENBLAS_NUM_THREADS': str(n_threads), 'OMP_NUM_THREADS': str(n_threads)}
    allow = {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}
    command = [MPIEXEC, '--bind-to', 'none', '--oversubscribe', '-n', str(n_processes)]
    command += [sys.executable, '-m', 'benchmarks.distributed', '--steps', str(n_steps)]
    process = subprocess.run(
        [*command, '--measure', *(['--unsorted'] if is_unsorted else [])],
        cwd=ROOT,
        env=os.environ | threads | allow,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(process.stdout)


def measure(args):
    """Prints what :func:`run` returns, as JSON."""
    processes = connect_processes('naive')
    workload = Workload(BATCH_SIZE // processes.size)
    whole_rng, rng = numpy.random.RandomState(0), numpy.random.RandomState(processes.rank)
    batches = []
    for _ in range(args.steps):
        lengths = caption_lengths(whole_rng, BATCH_SIZE)
        lengths = lengths if args.unsorted else numpy.sort(lengths)
        batches.append(workload.batch(rng, processes.share_of(lengths)))
    network = ShowAndTell(FEATURE_SIZE, workload.vocabulary_size, workload.size, workload.size)
    communicator = processes.communicator if processes.size > 1 else None
    optimizer = make_optimizer(network, 'adam', 0.001, communicator=communicator)
    exchange_time = measure_exchange(communicator)
    optimizer.update(network, *batches[0])
    processes.wait_for_all()
    exchange_time.clear()
    start = time.perf_counter()
    for batch in batches:
        optimizer.update(network, *batch)
    seconds = max(processes.all_gather(time.perf_counter() - start))
    n_tokens = sum(processes.all_gather(sum(len(targets) for _, _, targets, _ in batches)))
    n_bytes = sum(param.array.nbytes for param in network.params())
    print(json.dumps([n_tokens / seconds, sum(exchange_time) / seconds, n_bytes]))


def measure_exchange(communicator):
    """Returns a list to which the seconds of each exchange of gradients are added.

    They include waiting for the slower process.
    """
    seconds = []
    if communicator is not None:
        exchange = communicator.multi_node_mean_grad

        def timed_exchange(*arguments):
            start = time.perf_counter()
            exchange(*arguments)
            seconds.append(time.perf_counter() - start)

        communicator.multi_node_mean_grad = timed_exchange
    return seconds


if __name__ == '__main__':
    run_main(main)
