"""Time and memory to load a VGG19 caffemodel: ours and Chainer's own CaffeFunction.

    python -m benchmarks.caffemodel_loading

Writes a VGG19 with random weights (558 MB) to a temporary folder. Every load runs in a new
process, on Linux, where /proc shows the peak of its memory. The first, which fills the file
cache, does not count.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy

from lib.cli.parser import ArgumentParser, number
from lib.cli.run import run_main
from tests.helpers.caffemodels import write_vgg19

LOAD = r"""
import json, re, sys, time
import lib, chainer
from chainer.links.caffe import CaffeFunction
from lib.features.cnn import CNN
device = chainer.get_device('@numpy')
def peak():
    # Not getrusage, which includes the memory of the parent process at the fork.
    return 1024 * int(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])
peak_before, start = peak(), time.perf_counter()
load = {'ours': lambda path: CNN(path, 'fc7', 224, device), 'Chainer': CaffeFunction}
network = load[sys.argv[1]](sys.argv[2])
print(json.dumps([time.perf_counter() - start, peak() - peak_before, peak()]))
"""


def main():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument(
        '--rounds',
        type=number(int, low=1),
        default=3,
        metavar='N',
        help='repetitions of each program',
    )
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
    """Returns the seconds, the growth of the process and its peak, bytes."""
    process = subprocess.run(
        [sys.executable, '-c', LOAD, name, str(path)], capture_output=True, check=True, text=True
    )
    return json.loads(process.stdout)


if __name__ == '__main__':
    run_main(main)
