"""Makes the features file of a data set from its photographs with a Caffe network."""

import os
import sys

from lib.command_line import ArgumentParser, add_device_flag, run, select_device
from lib.datasets import read_datasets
from lib.errors import InputError
from lib.feature_flags import add_feature_flags, make_extractor
from lib.features import Features, check_fits, save_features
from lib.partial_features import PartialFeatures
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
    parser.add_argument('--dataset', required=True, nargs='+', metavar='[SPLIT=]FILE',
                        help='what names the photographs, as preprocess_vocab.py was given it')
    parser.add_argument('--image-root', required=True, metavar='FOLDER',
                        help='where the photographs are')
    parser.add_argument('-o', '--output', required=True, metavar='FILE',
                        help='file to write; column n belongs to image n; HDF5 if it ends with '
                             '.h5, else MATLAB 5. What is done is kept beside it, so that the '
                             'same command goes on after an interruption')
    add_feature_flags(parser, "What is not given is as Karpathy's VGG19 features were made: fc7, "
                              '224 pixels, mean 103.939 116.779 123.68, warp.')
    return parser.parse_args()


def main():
    args = parse_args()
    images = read_datasets(args.dataset)
    paths = [os.path.join(args.image_root, image.filename) for image in images]
    check_paths(args, paths)
    columns = numpy.array([image.imgid for image in images])
    extractor, source = make_extractor(args, select_device(args.gpu))
    caffemodel = os.stat(args.image)
    partial = PartialFeatures(args.output, int(columns.max()) + 1, {
        **vars(source), 'size': caffemodel.st_size, 'modified': caffemodel.st_mtime})

    n_before = int(partial.done()[columns].sum())
    if n_before:
        print(f'going on: {n_before} of {len(paths)} photographs were there already',
              file=sys.stderr)
    extract(args, extractor, partial, columns, paths)
    n_read = int(partial.done()[columns].sum())
    if not n_read:
        raise InputError(f'--image-root {args.image_root}: no photograph could be read')
    features = partial.array()
    save_features(args.output, Features(features, source))
    partial.remove()
    print(f'{features.shape[1]} features each of {n_read} photographs written to {args.output}')
    if n_read < len(paths):
        print(f'the columns of {len(paths) - n_read} unreadable photographs hold NaN, which '
              'train.py refuses', file=sys.stderr)
    return 0 if n_read == len(paths) else 1


def extract(args, extractor, partial, columns, paths):
    """Makes the features that are not there yet."""
    missing = numpy.flatnonzero(~partial.done()[columns])
    with tqdm.tqdm(total=len(paths), initial=len(paths) - len(missing), unit='photo',
                   disable=None, leave=False) as progress:
        for positions, pixels in prepared_photographs(
                [paths[place] for place in missing], extractor.prepare, PHOTOGRAPHS_AT_ONCE):
            if positions:
                rows = chainer.get_device('@numpy').send(extractor(pixels))
                check_fits(args.output, (columns.max() + 1, rows.shape[1]))    # not after hours
                partial.put(columns[missing[positions]], rows)
            progress.update(len(positions))


def check_paths(args, paths):
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise InputError(f'--image-root {args.image_root}: {len(missing)} of {len(paths)} '
                         f'photographs are not there, the first is {missing[0]}')


if __name__ == '__main__':
    run(main)
