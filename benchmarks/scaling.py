"""How training and decoding scale with vocabulary, sizes and batch, beside their bounds.

    python -m benchmarks.scaling [--gpu 0]

Prints Markdown tables. One quantity varies, the others are COCO's: 8,791 tokens, 512 units, 128
captions in a training step, 32 images decoded at once with M = 20, captions of 12 tokens. The
bound is the time of the matrix products at the rate of one large product.
"""

import numpy

from benchmarks.beam_search import CountingNetwork
from benchmarks.training_step import Ours
from benchmarks.workload import FEATURE_SIZE, Workload, measure_sgemm, seconds_of
from lib.cli.parser import ArgumentParser, add_device_flags, number
from lib.cli.run import run_main
from lib.decoding.beam_search import beam_search
from lib.device import select_device
from models.show_and_tell import ShowAndTell

VOCABULARY_SIZES = [1000, 2000, 5000, 10000, 20000, 50000]
SIZES = [128, 256, 512, 1024, 2048]
BATCH_SIZES = [16, 32, 64, 128, 256, 512, 1024]
IMAGES_AT_ONCE = [1, 4, 16, 32, 64, 128]
BEAM_WIDTH, TOP, MAX_LENGTH = 20, 5, 12


def main():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flags(parser)
    parser.add_argument(
        '--steps',
        type=number(int, low=1),
        default=3,
        metavar='N',
        help='training steps of each size',
    )
    args = parser.parse_args()
    device = select_device(args.gpu, args.tf32)
    print('| training | | ms per step | tokens/s | of bound |\n|---|---:|---:|---:|---:|')
    for name, workload, value in training_workloads():
        seconds, n_tokens, share = measure_training(workload, args.steps, device)
        print(
            f'| {name} | {value:,} | {1000 * seconds:,.0f} | {n_tokens / seconds:,.0f} '
            f'| {share:.0%} |',
            flush=True,
        )
    print('\n| decoding | | ms per image | images/s | of bound |\n|---|---:|---:|---:|---:|')
    for name, workload, value in decoding_workloads():
        seconds, share = measure_decoding(workload, device)
        print(
            f'| {name} | {value:,} | {1000 * seconds:,.1f} | {1 / seconds:,.1f} | {share:.0%} |',
            flush=True,
        )


def training_workloads():
    for value in VOCABULARY_SIZES:
        yield 'vocabulary', Workload(vocabulary_size=value), value
    for value in SIZES:
        yield 'hidden size', Workload(size=value), value
    for value in BATCH_SIZES:
        yield 'captions per step', Workload(batch_size=value), value


def decoding_workloads():
    for value in VOCABULARY_SIZES:
        yield 'vocabulary', Workload(32, vocabulary_size=value), value
    for value in SIZES:
        yield 'hidden size', Workload(32, size=value), value
    for value in IMAGES_AT_ONCE:
        yield 'images at once', Workload(value), value


def measure_training(workload, n_steps, device):
    """Returns seconds and tokens of a training step, and its share of the bound."""
    rng = numpy.random.RandomState(0)
    batches = [workload.batch(rng) for _ in range(n_steps)]
    n_tokens = sum(len(batch.targets) for batch in batches)
    ours = Ours(workload, device)
    prepared = [ours.prepare(batch) for batch in batches]
    ours.train(prepared[:1])
    bound = workload.flops(n_tokens, n_steps * workload.batch_size) / measure_sgemm(device)
    seconds = numpy.median([seconds_of(device, ours.train, prepared)[0] for _ in range(3)])
    return seconds / n_steps, n_tokens / n_steps, bound / seconds


def measure_decoding(workload, device):
    """Returns the seconds per image, and their share of the bound."""
    network = ShowAndTell(FEATURE_SIZE, workload.vocabulary_size, workload.size, workload.size)
    network.to_device(device)
    rng = numpy.random.RandomState(0)
    features = device.send(rng.rand(workload.batch_size, FEATURE_SIZE).astype('float32'))
    rate = measure_sgemm(device)
    times = []
    for _ in range(4):
        counter = CountingNetwork(network)
        seconds, _ = seconds_of(device, beam_search, counter, features, BEAM_WIDTH, TOP, MAX_LENGTH)
        times.append(seconds)
    seconds = numpy.median(times[1:])
    return seconds / workload.batch_size, counter.flops / rate / seconds


if __name__ == '__main__':
    run_main(main)
