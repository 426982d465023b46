"""Reading the features of batches from mapped files, beside reading them from memory.

    python -m benchmarks.features [--folder FOLDER]

Writes two files, reads random batches of 128 rows, and deletes the files. Before the rows are read
"cold", the system is told to forget what it has in its file cache; "page faults" are rows that are
read without being announced.
"""

import contextlib
import os
import statistics
import tempfile
import time

import numpy

from benchmarks.workload import FEATURE_SIZE
from lib.cli.parser import ArgumentParser, number
from lib.cli.run import run_main
from lib.features.formats import read_features
from lib.features.table import FileRows

BATCH_SIZE = 128


def main():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument(
        '--folder', metavar='FOLDER', help='where to write the files; by default a temporary folder'
    )
    parser.add_argument(
        '--size', type=number(float, above=0), default=2, metavar='GIB', help='size of each file'
    )
    parser.add_argument(
        '--batches', type=number(int, low=1), default=200, metavar='N', help='batches to read'
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        paths = [os.path.join(folder, f'{file}.npy') for file in range(2)]
        for path in paths:
            write_random(path, int(args.size * 2**30) // (4 * FEATURE_SIZE))
        n_rows = sum(len(read_features(path).rows) for path in paths)
        batches = numpy.random.RandomState(0).randint(0, n_rows, (args.batches, BATCH_SIZE))
        print(f'{"":>12}{"ms per batch":>14}{"slowest":>9}{"MB/s":>8}')
        for name, prepare in (('page faults', numpy.asarray), ('cold', numpy.asanyarray)):
            forget(paths)
            files = [read_features(path) for path in paths]
            rows = FileRows([file._replace(rows=prepare(file.rows)) for file in files])
            measure(name, rows, batches)
            del files, rows
        rows = FileRows([read_features(path) for path in paths])
        rows[:]
        measure('file cache', rows, batches)
        measure('memory', rows[:], batches)


def write_random(path, n_rows):
    """Writes features; only few of the values differ, since random numbers take long."""
    block = numpy.random.RandomState(0).rand(1024, FEATURE_SIZE).astype('float32')
    shape = n_rows, FEATURE_SIZE
    features = numpy.lib.format.open_memmap(path, 'w+', 'float32', shape)
    for start in range(0, n_rows, len(block)):
        features[start : start + len(block)] = block[: n_rows - start]


def forget(paths):
    """Removes files that are not mapped from the system's cache."""
    for path in paths:
        with contextlib.closing(os.fdopen(os.open(path, os.O_RDWR))) as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(name, features, batches):
    seconds = []
    for rows in batches:
        start = time.perf_counter()
        features[rows]
        seconds.append(time.perf_counter() - start)
    rate = BATCH_SIZE * FEATURE_SIZE * 4 * len(batches) / sum(seconds)
    print(
        f'{name:>12}{1000 * statistics.mean(seconds):>14.2f}{1000 * max(seconds):>9.2f}'
        f'{rate / 1e6:>8,.0f}'
    )


if __name__ == '__main__':
    run_main(main)
