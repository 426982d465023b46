"""Runs hostile cases, and kills trainings while they save: ``make fuzz``."""

import collections
import concurrent.futures
import functools
import importlib
import multiprocessing
import os
import pathlib
import sys
import tempfile

import lib  # noqa: F401  patches Chainer

# isort: split
import tqdm

from lib.cli.parser import ArgumentParser, number
from tests.fuzz import cases, kills


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        '--cases',
        type=number(int, low=1),
        default=20000,
        metavar='N',
        help='damaged files and flags',
    )
    parser.add_argument(
        '--trainings', type=number(int, low=0), default=60, metavar='N', help='trainings to kill'
    )
    parser.add_argument(
        '--seed',
        type=number(int, low=0, high=2**32 - 1),
        default=0,
        metavar='N',
        help='random seed',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    for script in sorted({command.split()[0] for command, _, _ in cases.RUNS}):
        # Here, so that no forked process has to.
        importlib.import_module(script.removesuffix('.py'))
        cases.flags_of(script)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / 'original').mkdir()
        cases.make_folder(folder / 'original')
        complaints = run_cases(folder, args.cases, args.seed)
        complaints += kill_trainings(folder, args.trainings, args.seed)
    print(*complaints, sep='\n')
    return 1 if complaints else 0


def run_cases(folder, n_cases, seed):
    """Runs the cases; prints how they ended and returns what is wrong."""
    results = in_processes(functools.partial(run_case, folder, seed), n_cases)
    codes = collections.Counter(code for code, _ in results)
    print(
        f'{n_cases} cases:', ', '.join(f'{codes[code]} exit code {code}' for code in sorted(codes))
    )
    return [complaint for _, complaint in results if complaint]


def kill_trainings(folder, n_trainings, seed):
    """Kills trainings; prints how often and returns what is wrong."""
    results = in_processes(functools.partial(kill_training, folder, seed), n_trainings)
    print(f'{n_trainings} trainings, killed {sum(n_kills for n_kills, _ in results)} times')
    return [complaint for _, complaint in results if complaint]


def run_case(folder, seed, number):
    return cases.run_case(number, seed, folder / 'original', folder / str(os.getpid()))


def kill_training(folder, seed, number):
    return kills.kill_training(number, seed, folder / 'original', folder / str(os.getpid()))


def in_processes(run, n):
    """Returns what a function returns for 0 to n - 1, computed in a process per core."""
    context = multiprocessing.get_context('fork')
    with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
        return list(tqdm.tqdm(pool.map(run, range(n)), total=n, disable=None, leave=False))


if __name__ == '__main__':
    sys.exit(main())
