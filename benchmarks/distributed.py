"""Training in two processes, each with one thread, against one process with one thread or two.

    python -m benchmarks.distributed

Batches of COCO's shape, split between the processes. Prints tokens per second of all processes
together, and the shares of the time in which processes wait for the slower one and exchange
gradients: as ChainerMN does (each), all in one message (bucket), or in 16 bits (float16).
"""

import functools
import json
import os
import statistics
import subprocess
import sys
import time

import numpy

from benchmarks.workload import FEATURE_SIZE, Workload, caption_lengths
from lib.cli.parser import ArgumentParser, number
from lib.cli.run import run_main
from lib.processes import connect_processes
from lib.training.optimizers import make_optimizer
from models.show_and_tell import ShowAndTell
from tests.helpers.mpi import MPIEXEC
from tests.helpers.scripts import ROOT

BATCH_SIZE = 128
# Processes, and threads of each.
SETTINGS = (1, 1), (1, 2), (2, 1)
EXCHANGES = 'each', 'bucket', 'float16'


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument(
        '--rounds',
        type=number(int, low=1),
        default=3,
        metavar='N',
        help='how often each is measured',
    )
    parser.add_argument(
        '--steps',
        type=number(int, low=1),
        default=6,
        metavar='N',
        help='iterations of a measurement',
    )
    parser.add_argument(
        '--unsorted',
        action='store_true',
        help='divide batches as they are, not sorted by the lengths of captions, as train.py does',
    )
    parser.add_argument('--measure', choices=EXCHANGES, help='measure, in these processes')
    return parser.parse_args()


def main():
    args = parse_args()
    if args.measure:
        measure(args)
        return
    results = {}
    for _ in range(args.rounds):
        for n_processes, n_threads in SETTINGS:
            for exchange in EXCHANGES if n_processes > 1 else EXCHANGES[:1]:
                setting = n_processes, n_threads, exchange
                result = run(*setting, args.steps, args.unsorted)
                results.setdefault(setting, []).append(result)
    print(
        f'{"processes":>9}{"threads":>9}{"exchange":>10}{"tokens/s":>10}{"speed-up":>10}'
        f'{"waiting":>10}{"exchanging":>12}'
    )
    alone = [result[0] for result in next(iter(results.values()))]
    for (n, n_threads, exchange), rounds in results.items():
        rates, waiting, exchanging, sizes = zip(*rounds)
        speed_up = statistics.median(rate / other for rate, other in zip(rates, alone))
        print(
            f'{n:>9}{n_threads:>9}{exchange if n > 1 else "":>10}'
            f'{statistics.median(rates):>10,.0f}{speed_up:>9.2f}x{statistics.median(waiting):>10.1%}'
            f'{statistics.median(exchanging):>12.1%}'
        )
    print(f'gradients that each process sends in a step: {sizes[0] / 1e6:.1f} MB')


def run(n_processes, n_threads, exchange, n_steps, is_unsorted):
    """Measures a setting in new processes.

    Returns:
        tuple: Tokens per second; the shares of the time in which a process waits for the others
        and exchanges gradients; and bytes of the gradients.
    """
    threads = {'OPENBLAS_NUM_THREADS': str(n_threads), 'OMP_NUM_THREADS': str(n_threads)}
    allow = {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}
    command = [MPIEXEC, '--bind-to', 'none', '--oversubscribe', '-n', str(n_processes)]
    command += [sys.executable, '-m', 'benchmarks.distributed', '--steps', str(n_steps)]
    process = subprocess.run(
        [*command, '--measure', exchange, *(['--unsorted'] if is_unsorted else [])],
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
    waiting, exchanging = measure_exchange(communicator, args.measure)
    optimizer.update(network, batches[0])
    processes.wait_for_all()
    waiting.clear()
    exchanging.clear()
    start = time.perf_counter()
    for batch in batches:
        optimizer.update(network, batch)
    seconds = max(processes.all_gather(time.perf_counter() - start))
    n_tokens = sum(processes.all_gather(sum(len(batch.targets) for batch in batches)))
    n_bytes = sum(param.array.nbytes for param in network.params())
    wait = statistics.mean(processes.all_gather(sum(waiting))) / seconds
    print(json.dumps([n_tokens / seconds, wait, sum(exchanging) / seconds, n_bytes]))


def measure_exchange(communicator, name):
    """Selects how gradients are exchanged.

    Returns:
        tuple of list: To them are added the seconds that this process waits for the others, and
        those of each exchange.
    """
    waiting, exchanging = [], []
    if communicator is not None:
        exchange = communicator.multi_node_mean_grad
        if name != 'each':
            exchange = functools.partial(EXCHANGE_TOGETHER[name], communicator.mpi_comm)

        def timed_exchange(network, zero_fill):
            start = time.perf_counter()
            communicator.mpi_comm.Barrier()
            middle = time.perf_counter()
            exchange(network, zero_fill)
            waiting.append(middle - start)
            exchanging.append(time.perf_counter() - middle)

        communicator.multi_node_mean_grad = timed_exchange
    return waiting, exchanging


def exchange_in_bucket(mpi_comm, network, zero_fill):
    """Averages all gradients in one message."""
    import mpi4py

    grads = [param.grad for param in network.params()]
    bucket = numpy.concatenate([grad.ravel() for grad in grads])
    mpi_comm.Allreduce(mpi4py.MPI.IN_PLACE, bucket)
    bucket /= mpi_comm.size
    copy_back(bucket, grads)


def exchange_in_16_bits(mpi_comm, network, zero_fill):
    """Averages all gradients, which are sent in 16 bits and added in 32."""
    grads = [param.grad for param in network.params()]
    own = numpy.concatenate([grad.ravel() for grad in grads]).astype('float16')
    of_all = numpy.empty((mpi_comm.size, own.size), 'float16')
    mpi_comm.Allgather(own.view('uint16'), of_all.view('uint16'))
    copy_back(of_all.mean(axis=0, dtype='float32'), grads)


EXCHANGE_TOGETHER = {'bucket': exchange_in_bucket, 'float16': exchange_in_16_bits}


def copy_back(bucket, grads):
    start = 0
    for grad in grads:
        grad[...] = bucket[start : start + grad.size].reshape(grad.shape)
        start += grad.size


if __name__ == '__main__':
    run_main(main)
