"""Extracts the features of a data set's images with a CNN."""

import os
import sys

import numpy
import tqdm

from lib.captions.annotations import parse_split, read_dataset
from lib.cli.parser import ArgumentParser, add_device_flags
from lib.cli.run import print_line, print_unreadable, run_main
from lib.device import select_device
from lib.errors import InputError
from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import FeatureSource
from lib.features.flags import add_extraction_flags, extraction_options
from lib.features.image_paths import locate_images
from lib.features.partial_file import PartialFeatures
from lib.features.writer import check_fits, check_suffix, save_features
from lib.files.fingerprint import fingerprint
from lib.files.output import check_outputs

IMAGES_AT_ONCE = 32
# Features take a row for each number up to the largest imgid.
MAX_ROWS_PER_IMAGE = 1000


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
        help='file to write, .h5 (HDF5), .mat (MATLAB 5) or .npy. After an interruption the same '
        'command continues where it stopped',
    )
    parser.add_argument(
        '--skip-unreadable',
        action='store_true',
        help='leave out images that are missing or cannot be read, instead of writing no file',
    )
    add_extraction_flags(
        parser,
        "By default a caffemodel extracts features like Karpathy's: fc7, 224 pixels, --preparation "
        'caffe; an ONNX model with its own layer and size and --preparation imagenet.',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    # All images that have a number, so that the files of several extractions fit together.
    images = read_dataset(args.dataset, with_empty=True)
    names = [image.filename for image in images]
    paths = locate_images(args.image_root, names, [image.listed_in for image in images])
    inputs = [args.cnn, *(parse_split(file)[1] for file in args.dataset), *filter(None, paths)]
    check_outputs([args.output], inputs)
    check_suffix(args.output)
    imgids = numpy.array([image.imgid for image in images])
    n_rows = int(imgids.max()) + 1
    check_density(args.dataset, len(images), n_rows)
    check_exist(args, names, paths)
    # Those that are left out are named when they are read.
    paths = [path or os.path.join(args.image_root, name) for path, name in zip(paths, names)]
    device = select_device(args.gpu, args.tf32)
    extractor = FeatureExtractor.load(args.cnn, device, **extraction_options(args))
    size = extractor.compute_size()
    check_fits(args.output, (n_rows, size))

    # Features that are extracted in another way, or of other images, are in another file.
    settings = fingerprint(
        FeatureSource.to_json(extractor.source),
        numpy.memmap(args.cnn, 'uint8', 'r'),
        *(f'{image.imgid} {image.filename}' for image in images),
    )
    partial_path = f'{args.output}.{settings[:8]}.partial'
    with PartialFeatures(partial_path, size) as partial:
        try:
            extract(extractor, partial, paths)
        except (KeyboardInterrupt, SystemExit):
            if len(partial.read()):
                print_line(f'stopped: the same command continues from {partial_path}', sys.stderr)
            raise
        records = partial.read()
        n_missing = len(images) - len(records)
        if not len(records):
            raise InputError(f'--image-root {args.image_root}: none of the images can be read')
        if n_missing and not args.skip_unreadable:
            report_incomplete(args.output, n_missing, len(images))
            return 1
        features = numpy.full((n_rows, size), numpy.nan, 'float32')
        features[imgids[records['image']]] = records['features']
        name_of_row = numpy.full(n_rows, '', object)
        name_of_row[imgids] = names
        save_features(args.output, features, extractor.source, name_of_row)
        report(args.output, size, len(records), n_missing)
        partial.remove()
    return 0


def check_exist(args, names, paths):
    """Checks that there are images, all of them unless unreadable ones are left out."""
    missing = [name for name, path in zip(names, paths) if path is None]
    if len(missing) == len(paths) or (missing and not args.skip_unreadable):
        raise InputError(
            f'--image-root {args.image_root}: {len(missing)} of {len(paths)} images are missing, '
            f'the first is {missing[0]}; --skip-unreadable leaves them out'
        )


def check_density(dataset, n_images, n_rows):
    """Checks that the numbers of images are not so sparse that nearly all rows would be empty."""
    if n_rows > MAX_ROWS_PER_IMAGE * n_images:
        raise InputError(
            f'{dataset[0]}: has {n_images} images, but imgid {n_rows - 1} implies features of '
            f'{n_rows:,}; number the images from 0'
        )


def extract(extractor, partial, paths):
    """Extracts the features that an interrupted run has not."""
    done = partial.read()['image']
    if len(done):
        print(f'continuing after {len(done)} of {len(paths)} images', file=sys.stderr)
    missing = numpy.setdiff1d(numpy.arange(len(paths)), done)
    with tqdm.tqdm(total=len(missing), unit='image', disable=None, leave=False) as progress:
        missing_paths = [paths[index] for index in missing]
        for indices, features in extractor.extract(missing_paths, IMAGES_AT_ONCE, print_unreadable):
            partial.add(missing[indices], features)
            progress.update(len(indices))


def report_incomplete(output, n_missing, n_images):
    print_line(
        f'{output} is not written, since {n_missing} of {n_images} images cannot be read: replace '
        'them and repeat the command, which extracts only those, or repeat it with '
        '--skip-unreadable to leave them out',
        file=sys.stderr,
    )


def report(output, size, n_images, n_left_out):
    print_line(f'wrote {output}: {size} features of each of {n_images} images')
    if n_left_out:
        print(
            f'{n_left_out} images are left out; train.py, evaluate.py and index_captions.py leave '
            'them out, too',
            file=sys.stderr,
        )


if __name__ == '__main__':
    run_main(main)
