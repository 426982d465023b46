"""Runs hostile cases: ``make fuzz``."""

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


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        '--cases',
        type=number(int, low=0),
        default=20000,
        metavar='N',
        help='damaged files and flags',
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
        cases = run_in_processes(args.cases, args.seed, folder)
    codes = sorted(Counter(code for code, _ in cases).items())
    print(f'{len(cases)} cases:', ', '.join(f'{n} exit code {code}' for code, n in codes))
    complaints = [complaint for _, complaint in cases if complaint]
    print(*complaints, sep='\n')
    return 1 if complaints else 0


def run_in_processes(n, seed, folder):
    """Returns what :func:`run_case` returns for 0 to n - 1, computed in a process per core."""
    run = functools.partial(_run_in_own_folder, seed, folder)
    context = multiprocessing.get_context('fork')
    with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
        return list(tqdm.tqdm(pool.map(run, range(n)), total=n, disable=None, leave=False))


def _run_in_own_folder(seed, folder, number):
    return run_case(number, seed, folder / 'original', folder / str(os.getpid()))


if __name__ == '__main__':
    sys.exit(main())
