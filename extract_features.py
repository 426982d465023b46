"""Makes the features file of a data set from its photographs with a Caffe network."""

import os
import sys

from lib.command_line import ArgumentParser, add_device_flag, run, select_device
from lib.errors import InputError
from lib.feature_flags import add_feature_flags, make_extractor
from lib.features import Features, check_fits, save_features
from lib.karpathy import read_dataset
from lib.photographs import prepared_photographs

import chainer
import numpy
import tqdm

PHOTOGRAPHS_AT_ONCE = 32


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flag(parser)
    parser.add_argument('-i', '--image', required=True, metavar='FILE',
                        help='caffemodel, such as VGG_ILSVRC_19_layers.caffemodel')
    parser.add_argument('--dataset', required=True, metavar='FILE',
                        help="Karpathy's dataset.json, which names the photographs")
    parser.add_argument('--image-root', required=True, metavar='FOLDER',
                        help='where the photographs are')
    parser.add_argument('-o', '--output', required=True, metavar='FILE',
                        help='MATLAB 5 file to write; column n belongs to imgid n')
    add_feature_flags(parser, "What is not given is as Karpathy's VGG19 features were made: fc7, "
                              '224 pixels, mean 103.939 116.779 123.68, warp.')
    return parser.parse_args()


def main():
    args = parse_args()
    images = read_dataset(args.dataset)
    paths = [os.path.join(args.image_root, image.filename) for image in images]
    check_paths(args, paths)
    extractor, source = make_extractor(args, select_device(args.gpu))

    features, n_read = None, 0
    with tqdm.tqdm(total=len(paths), unit='photo', disable=None, leave=False) as progress:
        for positions, pixels in prepared_photographs(paths, extractor.prepare,
                                                      PHOTOGRAPHS_AT_ONCE):
            if positions:
                rows = chainer.get_device('@numpy').send(extractor(pixels))
                if features is None:
                    n_columns = max(image.imgid for image in images) + 1
                    features = numpy.full((n_columns, rows.shape[1]), numpy.nan, 'float32')
                    check_fits(args.output, features)    # now, not after hours
                features[[images[position].imgid for position in positions]] = rows
            n_read += len(positions)
            progress.update(len(positions))
    if features is None:
        raise InputError(f'--image-root {args.image_root}: no photograph could be read')
    save_features(args.output, Features(features, source))
    print(f'{features.shape[1]} features each of {n_read} photographs written to {args.output}')
    if n_read < len(paths):
        print(f'the columns of {len(paths) - n_read} unreadable photographs hold NaN, which '
              'train.py refuses', file=sys.stderr)
    return 0 if n_read == len(paths) else 1


def check_paths(args, paths):
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise InputError(f'--image-root {args.image_root}: {len(missing)} of {len(paths)} '
                         f'photographs are not there, the first is {missing[0]}')


if __name__ == '__main__':
    run(main)
