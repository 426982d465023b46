"""Whole epochs on features of COCO's size: the cost of loading data, and memory over time.

    python -m benchmarks.epochs [--gpu 0]

Iterator, packing, gathering of features and training step are those of train.py. The
features, 4096 x 123,287 (2 GB), and the captions are random.
"""

import re

import chainer
import numpy

from benchmarks.workload import FEATURE_SIZE, Workload, caption_lengths, random_tokens, seconds_of
from lib.captions.batch import make_converter
from lib.captions.dataset import CaptionDataset
from lib.cli.parser import ArgumentParser, add_device_flags, number
from lib.cli.run import run_main
from lib.device import select_device
from lib.features.table import FeatureTable
from lib.training.adam import Adam
from models.show_and_tell import ShowAndTell

N_IMAGES = 123287


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flags(parser)
    parser.add_argument(
        '--epoch', type=number(int, low=1), default=4, metavar='N', help='number of epochs'
    )
    parser.add_argument(
        '--captions',
        type=number(int, low=1),
        default=6400,
        metavar='N',
        help='captions in an epoch',
    )
    parser.add_argument(
        '--batch-size', type=number(int, low=1), default=128, metavar='N', help='captions in a step'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    device = select_device(args.gpu, args.tf32)
    workload = Workload(args.batch_size)
    dataset = make_dataset(args.captions, workload.vocabulary_size)
    rng = numpy.random.default_rng(0)
    features = FeatureTable(rng.random((N_IMAGES, FEATURE_SIZE), 'float32'))
    features.to_device(device)
    converter = make_converter(dataset, features)
    model = ShowAndTell(FEATURE_SIZE, workload.vocabulary_size, workload.size, workload.size)
    model.to_device(device)
    iterator = chainer.iterators.SerialIterator(numpy.arange(args.captions), args.batch_size)
    optimizer = Adam().setup(model)
    iterating, packing = Stopwatch(device), Stopwatch(device)

    def run_epoch():
        for _ in range(-(-args.captions // args.batch_size)):
            captions = iterating.time(iterator.next)
            optimizer.update(model, *packing.time(converter, captions, device))

    print(f'{"epoch":>5}{"seconds":>10}{"iterator":>10}{"packing":>10}{"memory":>12}')
    for epoch in range(1, args.epoch + 1):
        iterating.seconds = packing.seconds = 0
        seconds, _ = seconds_of(device, run_epoch)
        print(
            f'{epoch:>5}{seconds:>10.1f}{iterating.seconds / seconds:>10.2%}'
            f'{packing.seconds / seconds:>10.2%}{memory(device) / 1e6:>9,.0f} MB',
            flush=True,
        )


def make_dataset(n_captions, vocabulary_size):
    rng = numpy.random.RandomState(0)
    offsets = numpy.cumsum([0, *caption_lengths(rng, n_captions)])
    return CaptionDataset(
        vocabulary=None,
        tokens=random_tokens(rng, offsets[-1], vocabulary_size),
        offsets=offsets,
        image=rng.randint(0, N_IMAGES, n_captions).astype('int32'),
        imgid=numpy.arange(N_IMAGES, dtype='int32'),
        cocoid=None,
        split=None,
        filename=None,
        raw=None,
    )


class Stopwatch:
    """Adds up the seconds that calls take."""

    def __init__(self, device):
        self._device, self.seconds = device, 0

    def time(self, function, *arguments):
        seconds, result = seconds_of(self._device, function, *arguments)
        self.seconds += seconds
        return result


def memory(device):
    """Returns the bytes that the process or, on a GPU, CuPy's memory pool holds."""
    if device.xp is not numpy:
        return device.xp.get_default_memory_pool().total_bytes()
    with open('/proc/self/status') as file:
        return 1024 * int(re.search(r'VmRSS:\s+(\d+)', file.read())[1])


if __name__ == '__main__':
    run_main(main)
