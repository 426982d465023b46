"""Time and memory to load a VGG19 caffemodel: ours and Chainer's own CaffeFunction.

    python -m benchmarks.caffemodel_loading

Writes a VGG19 with random weights (558 MB) to a temporary folder. Each load is a process of
its own, on Linux, whose /proc tells the peak. The first, which fills the file cache, does not
count.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from lib.command_line import ArgumentParser, positive_int, run
from tests.caffemodels import write_vgg19

import numpy

LOAD = r'''
import json, re, sys, time
from lib.caffemodel import Caffemodel, CaffeFunction
def peak():
    # Not getrusage: that counts what the parent process held before this one began.
    return 1024 * int(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])
before, start = peak(), time.perf_counter()
network = {'ours': Caffemodel, 'Chainer': CaffeFunction}[sys.argv[1]](sys.argv[2])
print(json.dumps([time.perf_counter() - start, peak() - before, peak()]))
'''


def main():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=positive_int, default=3, help='how often each one loads')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_vgg19(pathlib.Path(folder) / 'vgg19.caffemodel', width=64, features=4096)
        size = path.stat().st_size
        measure('ours', path)
        figures = {'ours': [], 'Chainer': []}
        for _ in range(args.rounds):
            for name, values in figures.items():
                values.append(measure(name, path))
    print(f'{size / 1e6:.0f} MB')
    print(f'{"":<8}{"seconds":>9}{"growth of the process":>24}{"its peak":>12}')
    for name, values in figures.items():
        seconds, growth, peak = numpy.median(values, axis=0)
        print(f'{name:<8}{seconds:>9.2f}{growth / size:>17.2f} x file{peak / size:>7.2f} x file')
    ratios = numpy.array(figures['Chainer'])[:, 0] / numpy.array(figures['ours'])[:, 0]
    print(f'ours is {numpy.median(ratios):.0f} x as fast')


def measure(name, path):
    """Returns seconds, bytes the process grew by, and bytes of its peak."""
    return json.loads(subprocess.run([sys.executable, '-c', LOAD, name, str(path)],
                                     capture_output=True, check=True, text=True).stdout)


if __name__ == '__main__':
    run(main)
