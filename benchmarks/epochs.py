"""Whole epochs on features of COCO's size: what loading costs, and how memory goes.

    python -m benchmarks.epochs [--gpu 0]

Iterator, packing, gathering of features and the training step are those of train.py.
The features are random, 4096 x 123,287 (2 GB), and so are the captions.
"""

import re
import time

from benchmarks.workload import FEATURE_SIZE, Workload, caption_lengths, random_words, seconds_of
from lib.adam import Adam
from lib.caption_file import Captions
from lib.command_line import ArgumentParser, add_device_flag, positive_int, run, select_device
from lib.minibatch import make_converter
from models.show_and_tell import ShowAndTell

import chainer
import numpy

IMAGES = 123287


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flag(parser)
    parser.add_argument('--epochs', type=positive_int, default=4, help='how many to run')
    parser.add_argument('--captions', type=positive_int, default=6400, help='captions an epoch')
    parser.add_argument('--batch-size', type=positive_int, default=128, help='captions a step')
    return parser.parse_args()


def main():
    args = parse_args()
    device = select_device(args.gpu)
    workload = Workload(args.batch_size)
    captions = make_captions(args.captions, workload.vocabulary_size)
    features = device.send(numpy.random.default_rng(0).random((IMAGES, FEATURE_SIZE), 'float32'))
    converter = make_converter(captions, features)
    model = ShowAndTell(FEATURE_SIZE, workload.vocabulary_size, workload.size, workload.size)
    model.to_device(device)
    iterator = chainer.iterators.SerialIterator(numpy.arange(args.captions), args.batch_size)
    iterating, packing = Stopwatch(), Stopwatch()
    optimizer = Adam().setup(model)

    def epoch():
        for _ in range(-(-args.captions // args.batch_size)):
            indices = iterating.time(iterator.next)
            optimizer.update(model, *packing.time(converter, indices, device))

    print(f'{"epoch":>5}{"seconds":>10}{"iterator":>10}{"packing":>10}{"memory":>12}')
    for number in range(1, args.epochs + 1):
        iterating.seconds = packing.seconds = 0
        seconds = seconds_of(device, epoch)
        print(f'{number:>5}{seconds:>10.1f}{iterating.seconds / seconds:>10.2%}'
              f'{packing.seconds / seconds:>10.2%}{memory(device) / 1e6:>9,.0f} MB', flush=True)


def make_captions(n, vocabulary_size):
    rng = numpy.random.RandomState(0)
    offsets = numpy.cumsum([0, *caption_lengths(rng, n)])
    return Captions(
        vocabulary=None, tokens=random_words(rng, offsets[-1], vocabulary_size), offsets=offsets,
        image=rng.randint(0, IMAGES, n).astype('int32'), imgid=numpy.arange(IMAGES, dtype='int32'),
        cocoid=None, split=None, filename=None, raw=None)


class Stopwatch:
    """Adds up how long calls take."""

    def __init__(self):
        self.seconds = 0

    def time(self, function, *arguments):
        start = time.perf_counter()
        result = function(*arguments)
        self.seconds += time.perf_counter() - start
        return result


def memory(device):
    """Returns the bytes that the process, or on a GPU CuPy's pool, holds."""
    if device.xp is not numpy:
        return device.xp.get_default_memory_pool().total_bytes()
    with open('/proc/self/status') as file:
        return 1024 * int(re.search(r'VmRSS:\s+(\d+)', file.read())[1])


if __name__ == '__main__':
    run(main)
