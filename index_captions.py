"""Makes an index of training images and their captions, which --index takes."""

import os

from lib.captions.dataset import CaptionDataset
from lib.cli.parser import ArgumentParser
from lib.cli.run import print_line, run_main
from lib.decoding.neighbors import NeighborIndex
from lib.errors import InputError
from lib.features.flags import add_data_flags
from lib.features.table import FeatureTable
from lib.files.output import check_outputs


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
    features = FeatureTable.open(args.features, dataset, images, args.combine)
    dataset = dataset.without(features.left_out)
    index = NeighborIndex.from_dataset(dataset, features)
    index.save(args.output)
    size = os.path.getsize(args.output) / 1e6
    print_line(
        f'wrote {args.output}: {len(index.vectors):,} images, {len(index.offsets) - 1:,} captions, '
        f'{size:.1f} MB'
    )
    return 0


if __name__ == '__main__':
    run_main(main)
