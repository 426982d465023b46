"""Extracts the features of a data set's images with a Caffe network."""

import os
import sys

import numpy
import tqdm

from lib.captions.readers import read_dataset
from lib.command_line import ArgumentParser, add_device_flags, print_unreadable, run_main
from lib.device import select_device
from lib.errors import InputError
from lib.features.extractor import FeatureExtractor
from lib.features.feature_file import Features, check_fits, save_features
from lib.features.flags import add_extraction_flags, extraction_options
from lib.features.partial_file import PartialFeatures
from lib.files import check_output

IMAGES_AT_ONCE = 32


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flags(parser)
    parser.add_argument(
        '--dataset',
        required=True,
        nargs='+',
        metavar='[SPLIT=]FILE',
        help='files that name the images, as for preprocess_vocab.py',
    )
    parser.add_argument(
        '--image-root', required=True, metavar='FOLDER', help='folder that contains the images'
    )
    parser.add_argument(
        '-o',
        '--output',
        required=True,
        metavar='FILE',
        help='file to write: HDF5 if it ends with .h5, otherwise MATLAB 5. After an interruption '
        'the same command continues where it stopped',
    )
    add_extraction_flags(
        parser,
        "By default features are extracted like Karpathy's with VGG19: fc7, 224 pixels, mean "
        '103.939 116.779 123.68, warp.',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    check_output(args.output)
    images = read_dataset(args.dataset)
    paths = [os.path.join(args.image_root, image.filename) for image in images]
    check_exist(args.image_root, paths)
    imgids = numpy.array([image.imgid for image in images])
    extractor = FeatureExtractor.load(
        args.cnn, select_device(args.gpu, args.tf32), **extraction_options(args)
    )
    cnn_stat = os.stat(args.cnn)
    settings = {**vars(extractor.source), 'size': cnn_stat.st_size, 'modified': cnn_stat.st_mtime}
    partial = PartialFeatures(args.output, int(imgids.max()) + 1, settings)

    extract(args.output, extractor, partial, imgids, paths)
    n_extracted = int(partial.done()[imgids].sum())
    if not n_extracted:
        raise InputError(f'--image-root {args.image_root}: none of the images can be read')
    features = Features(partial.read(), extractor.source)
    save_features(args.output, features)
    partial.remove()
    size = features.array.shape[1]
    print(f'wrote {args.output}: {size} features of each of {n_extracted} images')
    if n_extracted == len(paths):
        return 0
    print(
        f'the features of {len(paths) - n_extracted} unreadable images are NaN, which train.py '
        'rejects',
        file=sys.stderr,
    )
    return 1


def check_exist(image_root, paths):
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise InputError(
            f'--image-root {image_root}: {len(missing)} of {len(paths)} images are missing, the '
            f'first is {missing[0]}'
        )


def extract(output, extractor, partial, imgids, paths):
    """Extracts the features that an interrupted run has not."""
    missing = numpy.flatnonzero(~partial.done()[imgids])
    n_done = len(paths) - len(missing)
    if n_done:
        print(f'continuing after {n_done} of {len(paths)} images', file=sys.stderr)
    with tqdm.tqdm(
        total=len(paths), initial=n_done, unit='image', disable=None, leave=False
    ) as progress:
        missing_paths = [paths[index] for index in missing]
        for indices, features in extractor.extract(missing_paths, IMAGES_AT_ONCE, print_unreadable):
            # Checked now, not after hours.
            check_fits(output, (imgids.max() + 1, features.shape[1]))
            partial.put(imgids[missing[indices]], features)
            progress.update(len(indices))


if __name__ == '__main__':
    run_main(main)
