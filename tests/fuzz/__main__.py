"""Runs hostile cases, and kills trainings while they save: ``make fuzz``."""

import concurrent.futures
import functools
import multiprocessing
import os
import pathlib
import sys
import tempfile
from collections import Counter

import tqdm

from lib.cli.parser import ArgumentParser, add_seed_flag, number
from tests.fuzz.cases import RUNS, flags_of, make_folder, run_case
from tests.fuzz.kills import kill_training


def parse_args():
    parser = ArgumentParser(__doc__)
    for name, default, description in (
        ('cases', 20000, 'damaged files and flags'),
        ('trainings', 60, 'trainings to kill'),
    ):
        parser.add_argument(
            f'--{name}', type=number(int, low=0), default=default, metavar='N', help=description
        )
    add_seed_flag(parser, 'all')
    return parser.parse_args()


def main():
    args = parse_args()
    for command, _, _ in RUNS:
        flags_of(command.split()[0])
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / 'original').mkdir()
        make_folder(folder / 'original')
        cases = in_processes(run_case, args.cases, args.seed, folder)
        trainings = in_processes(kill_training, args.trainings, args.seed, folder)
    codes = sorted(Counter(code for code, _ in cases).items())
    print(f'{len(cases)} cases:', ', '.join(f'{n} exit code {code}' for code, n in codes))
    print(f'{len(trainings)} trainings, killed {sum(n_kills for n_kills, _ in trainings)} times')
    complaints = [complaint for _, complaint in (*cases, *trainings) if complaint]
    print(*complaints, sep='\n')
    return 1 if complaints else 0


def in_processes(run, n, seed, folder):
    """Returns what a function returns for 0 to n - 1, computed in a process per core."""
    run = functools.partial(_run_in_own_folder, run, seed, folder)
    context = multiprocessing.get_context('fork')
    with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
        return list(tqdm.tqdm(pool.map(run, range(n)), total=n, disable=None, leave=False))


def _run_in_own_folder(run, seed, folder, number):
    return run(number, seed, folder / 'original', folder / str(os.getpid()))


if __name__ == '__main__':
    sys.exit(main())
