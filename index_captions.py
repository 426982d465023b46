"""Makes an index of training images and their captions, for --mbr-neighbors."""

import lib  # noqa: F401  first, since it patches Chainer

# isort: split
import os

import chainer

from lib.captions.dataset import CaptionDataset
from lib.cli.parser import ArgumentParser
from lib.cli.run import print_line, run_main
from lib.decoding.neighbors import NeighborIndex
from lib.errors import InputError
from lib.features.flags import add_data_flags
from lib.features.shared_features import load_shared_features
from lib.files.output import check_outputs
from lib.processes import Processes


def parse_args():
    parser = ArgumentParser(__doc__)
    add_data_flags(parser)
    parser.add_argument('-o', '--output', default='index.h5', metavar='FILE', help='file to write')
    return parser.parse_args()


def main():
    args = parse_args()
    check_outputs([args.output], [args.captions, *args.features])
    dataset = CaptionDataset.load(args.captions)
    images = dataset.images_of('train')
    if not images.size:
        raise InputError(f'{args.captions}: has no captions in the split "train"')
    cpu, options = chainer.get_device('@numpy'), (args.features_memory, args.combine)
    features = load_shared_features(
        args.features, dataset, images, cpu, 'float32', Processes(), *options
    )
    index = NeighborIndex.from_dataset(dataset, features)
    index.save(args.output)
    size = os.path.getsize(args.output) / 1e6
    print_line(
        f'wrote {args.output}: {len(images):,} images, {len(index.offsets) - 1:,} captions, '
        f'{size:.1f} MB'
    )
    return 0


if __name__ == '__main__':
    run_main(main)
