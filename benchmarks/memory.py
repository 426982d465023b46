"""Memory on data of COCO's size: train.py over an epoch, generate_caption.py over many images.

    python -m benchmarks.memory [--captions-per-image 1]

Fails if train.py takes 2 GB or more beyond its features, which are mapped, or if the peak of
generate_caption.py grows after a tenth of the images. On Linux, where /proc shows the memory of a
process. The data are random: 616,435 captions of 123,287 images, 566,435 of them to train on, and
features of 4096 x 123,287 in HDF5 (2 GB, in the folder for temporary files).

The network has 64 units, so that an epoch takes minutes on two cores; what the data take does not
depend on its size. Parameters, gradients and the moments of Adam of the default network, of 512
units, are added. The model that comes out captions the images, with the features of a small CNN.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import h5py
import numpy

from benchmarks.workload import FEATURE_SIZE, Workload, caption_lengths, random_tokens
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import SPLITS
from lib.captions.vocabulary import SPECIAL_TOKENS, Vocabulary
from lib.cli.parser import ArgumentParser, number
from lib.cli.run import run_main
from models.show_and_tell import ShowAndTell
from tests.helpers.caffemodels import Writer
from tests.helpers.samples import write_image
from tests.helpers.scripts import ROOT

IMAGES_IN_SPLIT = {'train': 113287, 'val': 5000, 'test': 5000}
N_IMAGES = sum(IMAGES_IN_SPLIT.values())
N_UNITS, DEFAULT_UNITS, BATCH_SIZE, IMAGE_SIZE = 64, 512, 512, 32
# What train.py may take beyond the features, and by what share generate_caption.py may grow.
TRAINING_LIMIT, GROWTH_LIMIT = 2e9, 0.05


class Sample(NamedTuple):
    """The memory of a process, bytes, and how far it had come."""

    progress: int
    memory: int
    peak: int


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument(
        '--captions-per-image',
        type=number(int, low=1),
        default=5,
        metavar='N',
        help='captions to train on; fewer take less time',
    )
    parser.add_argument(
        '--images', type=number(int, low=1), default=10000, metavar='N', help='images to caption'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        print(f'{"":<34}{"memory":>10}{"peak":>10}')
        failures = [
            *check_training(folder, args.captions_per_image),
            *check_captioning(folder, args.images),
        ]
    print('\n'.join(failures), end='\n' if failures else '')
    return 1 if failures else 0


def check_training(folder, captions_per_image):
    """Prints the memory of train.py and yields what exceeds its limit."""
    make_dataset(captions_per_image).save(folder / 'captions.h5')
    features = write_features(folder / 'feats.h5')
    result = folder / 'result'
    n_iterations = captions_per_image * IMAGES_IN_SPLIT['train'] // BATCH_SIZE
    flags = (
        f'-s captions.h5 -i feats.h5 --epoch 1 --hidden {N_UNITS} --embed {N_UNITS} '
        f'--batch-size {BATCH_SIZE} --snapshot-every {n_iterations // 10}'
    )
    samples = watch(
        'train.py',
        [f'@{ROOT}/recipes/coco.args', *flags.split()],
        folder,
        # The snapshot is written after a tenth of the epoch, the log after the validation.
        lambda: (result / 'snapshot.h5').exists() + (result / 'log').exists(),
    )
    epoch = [sample for sample in samples if sample.progress == 1]
    print_sample('train.py, after 10 % of the epoch', epoch[0])
    print_sample('after the validation', epoch[-1])

    network = network_bytes(DEFAULT_UNITS) - network_bytes(N_UNITS)
    beyond = max(sample.memory for sample in samples) + network
    print(
        f'{in_mb(beyond)} beyond the features, {in_mb(features)}, with {in_mb(network)} that a '
        f'network of {DEFAULT_UNITS} units adds'
    )
    if beyond >= TRAINING_LIMIT:
        yield f'train.py took {in_mb(beyond)} beyond the features; limit {in_mb(TRAINING_LIMIT)}'


def check_captioning(folder, n_images):
    """Prints the memory of generate_caption.py and yields what exceeds its limit."""
    write_cnn(folder / 'cnn.caffemodel')
    images = [write_image(folder / f'{seed}.jpg', seed).name for seed in range(10)]
    (folder / 'images.txt').write_text('\n'.join(images[i % 10] for i in range(n_images)))
    flags = (
        '-l images.txt -m result/best.h5 --json captions.json --beam-width 3 --top 3 '
        f'--min-length 10 -i cnn.caffemodel --layer features --image-size {IMAGE_SIZE}'
    )
    output = folder / 'output.txt'
    samples = watch(
        'generate_caption.py', flags.split(), folder, lambda: output.read_text().count('# ')
    )
    tenth = next(sample for sample in samples if sample.progress >= n_images / 10)
    highest = max(samples, key=lambda sample: sample.peak)
    print_sample(f'generate_caption.py, {tenth.progress:,} images', tenth)
    print_sample(f'at its peak, {highest.progress:,} images', highest)
    growth = highest.peak / tenth.peak - 1
    if growth > GROWTH_LIMIT:
        yield f'generate_caption.py grew by {growth:.1%}; limit {GROWTH_LIMIT:.0%}'


def make_dataset(captions_per_image):
    """Returns random captions of COCO's shape."""
    rng = numpy.random.RandomState(0)
    words = [f'word{index}' for index in range(Workload().vocabulary_size - len(SPECIAL_TOKENS))]
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *words))
    n_captions = captions_per_image * N_IMAGES
    offsets = numpy.cumsum([0, *caption_lengths(rng, n_captions)])
    tokens = len(SPECIAL_TOKENS) + random_tokens(rng, offsets[-1], len(words))
    splits = [SPLITS.index(split) for split in IMAGES_IN_SPLIT]
    names = [f'train2014/COCO_train2014_{number:012}.jpg' for number in range(N_IMAGES)]
    raw = [vocabulary.decode(caption) for caption in numpy.split(tokens, offsets[1:-1])]
    return CaptionDataset(
        vocabulary=vocabulary,
        tokens=tokens.astype('int32'),
        offsets=offsets,
        image=numpy.repeat(numpy.arange(N_IMAGES, dtype='int32'), captions_per_image),
        imgid=numpy.arange(N_IMAGES, dtype='int32'),
        cocoid=numpy.arange(N_IMAGES),
        split=numpy.repeat(splits, list(IMAGES_IN_SPLIT.values())).astype('uint8'),
        filename=numpy.array(names, object),
        raw=numpy.array(raw, object),
    )


def write_features(path):
    """Writes random features, block by block, and returns their size in bytes."""
    rng = numpy.random.default_rng(0)
    with h5py.File(path, 'w') as file:
        feats = file.create_dataset('feats', (N_IMAGES, FEATURE_SIZE), 'float32')
        for start in range(0, N_IMAGES, 1024):
            n_rows = min(1024, N_IMAGES - start)
            feats[start : start + n_rows] = rng.random((n_rows, FEATURE_SIZE), 'float32')
        return feats.nbytes


def write_cnn(path):
    """Writes a small CNN whose features have the size of VGG19's."""
    writer = Writer()
    blob = writer.pool('pool', writer.convolution('conv', 'data', 3, 8, 3, pad=1), 8, 8)
    writer.inner_product('features', blob, 8 * (IMAGE_SIZE // 8) ** 2, FEATURE_SIZE)
    writer.write(path)


def watch(script, flags, folder, progress):
    """Runs a script in a folder and returns samples of its memory until it ends."""
    command, samples = [sys.executable, f'{ROOT}/{script}', *flags], []
    with (
        open(folder / 'output.txt', 'w') as output,
        subprocess.Popen(command, cwd=folder, stdout=output) as process,
    ):
        while process.poll() is None:
            # Of a process that has just ended, there is nothing left to read.
            samples += read_memory(process.pid, progress())
            time.sleep(0.1)
    if process.returncode:
        sys.exit(f'{script} failed')
    return samples


def read_memory(pid, progress):
    """Returns a list of one sample, or an empty one of a process that has ended."""
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    sizes = [re.search(rf'{name}:\s+(\d+)', status) for name in ('RssAnon', 'VmHWM')]
    return [Sample(progress, *(1024 * int(size[1]) for size in sizes))] if all(sizes) else []


def network_bytes(n_units):
    """Returns what parameters, gradients and both moments of Adam take."""
    network = ShowAndTell(FEATURE_SIZE, Workload().vocabulary_size, n_units, n_units)
    return 4 * sum(param.array.nbytes for param in network.params())


def print_sample(title, sample):
    print(f'{title:<34}{in_mb(sample.memory):>10}{in_mb(sample.peak):>10}', flush=True)


def in_mb(size):
    return f'{size / 1e6:,.0f} MB'


if __name__ == '__main__':
    run_main(main)
