"""What a training step would take on several GPUs: arithmetic, not a measurement.

    python -m benchmarks.projection [--batch-size 1024] [--vocabulary 50000] [--disk 7]

Prints a Markdown table. A GPU computes while the host launches its kernels and reads features,
then gradients are exchanged around a ring: each GPU sends them nearly twice, at the rate of the
slowest link, whose latency is left out. ChainerMN exchanges them after the backward pass, so the
two times add up.
"""

from benchmarks.workload import CAPTION_LENGTHS, COCO_CAPTIONS, FEATURE_SIZE, Workload
from lib.cli.parser import ArgumentParser, number
from lib.cli.run import run_main
from models.show_and_tell import count_values

GPUS = [1, 2, 4, 8, 16, 32, 64]
# Seconds of short kernels, one after the other, in which most of the GPU idles; for 25 time steps.
RECURRENCE_TIME = 0.5e-3


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    for name, kind, default, description in (
        ('captions', number(int, low=1), COCO_CAPTIONS, 'captions in an epoch'),
        ('vocabulary', number(int, low=1), 8791, 'tokens of the vocabulary'),
        ('batch-size', number(int, low=1), 128, 'captions per step on each GPU'),
        ('tflops', number(float, above=0), 50, 'rate of matrix products of a GPU, TFLOPS'),
        ('host', number(float, above=0), 1.6, 'time of the host to launch a step, ms'),
        ('link', number(float, above=0), 350, 'rate of the exchange within a machine, GB/s'),
        ('network', number(float, above=0), 12.5, 'rate of the network of a machine, GB/s'),
        ('gpus', number(int, low=1), 8, 'GPUs in a machine'),
    ):
        parser.add_argument(f'--{name}', type=kind, default=default, help=description)
    parser.add_argument(
        '--reader',
        type=number(float, above=0),
        default=0.8,
        help='rate of a process that reads, GB/s',
    )
    parser.add_argument(
        '--disk',
        type=number(float, above=0),
        help='rate at which a machine reads features from its disk, GB/s; unless given, they are '
        'in memory',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    print(
        '| GPUs | MB sent by each | compute | host | exchange | step | epoch | speed-up |\n'
        '|---:|---:|---:|---:|---:|---:|---:|---:|'
    )
    alone = None
    for n in GPUS:
        sent, *times = step_times(args, n)
        compute, host, exchange = times
        step = max(compute, host) + exchange
        epoch = step * args.captions / (n * args.batch_size)
        alone = alone or epoch
        milliseconds = ' | '.join(f'{1000 * seconds:.1f} ms' for seconds in (*times, step))
        print(f'| {n} | {sent / 1e6:.0f} | {milliseconds} | {epoch:,.1f} s | {alone / epoch:.1f} |')


def step_times(args, n):
    """Returns bytes that a GPU sends, and seconds of computing, the host, and the exchange."""
    workload = Workload(args.batch_size, args.vocabulary)
    n_tokens = args.batch_size * (mean_length() + 1)
    compute = workload.flops(n_tokens, args.batch_size) / (1e12 * args.tflops) + RECURRENCE_TIME
    n_bytes = 4 * FEATURE_SIZE * args.batch_size
    rate = min(args.reader, args.disk / min(n, args.gpus)) if args.disk else float('inf')
    host = args.host / 1000 + n_bytes / (1e9 * rate)
    size = workload.size
    gradients = 4 * count_values(FEATURE_SIZE, args.vocabulary, size, size, n_layers=1)
    sent = 2 * (n - 1) / n * gradients
    rate = args.link if n <= args.gpus else min(args.link, args.network)
    return sent, compute, host, sent / (1e9 * rate)


def mean_length():
    """Returns the mean number of words of a caption."""
    n_words = sum(length * n for length, n in enumerate(CAPTION_LENGTHS))
    return n_words / sum(CAPTION_LENGTHS)


if __name__ == '__main__':
    run_main(main)
