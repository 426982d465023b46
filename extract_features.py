"""Extracts the features of a data set's images with a Caffe network."""

import os
import sys

import numpy
import tqdm

from lib.captions.readers import parse_split, read_dataset
from lib.cli.parser import ArgumentParser, add_communicator_flag, add_device_flags
from lib.cli.run import print_line, print_unreadable, run_main
from lib.device import select_device
from lib.errors import InputError
from lib.features.extractor import FeatureExtractor
from lib.features.flags import add_extraction_flags, extraction_options
from lib.features.partial_file import PartialFeatures, partial_path
from lib.features.writer import check_fits, save_features
from lib.files.fingerprint import fingerprint
from lib.files.input import join_below
from lib.files.output import check_outputs
from lib.processes import connect_processes

IMAGES_AT_ONCE = 32
# Features take a row for each number up to the largest imgid.
MAX_ROWS_PER_IMAGE = 1000


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flags(parser)
    add_communicator_flag(parser)
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
    # All images that have a number, so that the files of several extractions fit together.
    images = read_dataset(args.dataset, with_empty=True)
    paths = [join_below(args.image_root, image.filename) for image in images]
    processes = connect_processes(args.communicator)
    if processes.is_main:
        inputs = [args.cnn, *(parse_split(file)[1] for file in args.dataset), *paths]
        partial_paths = [partial_path(args.output, rank) for rank in range(processes.size)]
        check_outputs([args.output, *partial_paths], inputs)
    check_exist(args.image_root, paths)
    imgids = numpy.array([image.imgid for image in images])
    n_rows = int(imgids.max()) + 1
    check_density(args.dataset, len(images), n_rows)
    device = select_device(processes.local_gpu(args.gpu), args.tf32)
    extractor = FeatureExtractor.load(args.cnn, device, **extraction_options(args))

    cnn_stat = os.stat(args.cnn)
    settings = {
        **vars(extractor.source),
        'cnn': [cnn_stat.st_size, cnn_stat.st_mtime],
        'images': fingerprint(*(f'{image.imgid} {image.filename}' for image in images)),
    }
    partial = PartialFeatures(args.output, len(paths), settings, processes.rank)
    extract(args.output, extractor, partial, paths, n_rows, processes)
    # Afterwards all features are in the files.
    n_extracted = int(numpy.any(processes.all_gather(partial.done), axis=0).sum())
    if not n_extracted:
        raise InputError(f'--image-root {args.image_root}: none of the images can be read')
    if processes.is_main:
        features = partial.collect(imgids, n_rows)
        names = numpy.full(n_rows, '', object)
        names[imgids] = [image.filename for image in images]
        save_features(args.output, features, extractor.source, names)
        report(args.output, features.shape[1], n_extracted, len(paths))
        if n_extracted == len(paths):
            partial.remove()
    processes.wait_for_all()  # an exit code other than 0 ends all processes
    return 0 if n_extracted == len(paths) else 1


def check_exist(image_root, paths):
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise InputError(
            f'--image-root {image_root}: {len(missing)} of {len(paths)} images are missing, the '
            f'first is {missing[0]}'
        )


def check_density(dataset, n_images, n_rows):
    """Checks that the numbers of images are not so sparse that nearly all rows would be empty."""
    if n_rows > MAX_ROWS_PER_IMAGE * n_images:
        raise InputError(
            f'{dataset[0]}: has {n_images} images, but imgid {n_rows - 1} implies features of '
            f'{n_rows:,}; number the images from 0'
        )


def extract(output, extractor, partial, paths, n_rows, processes):
    """Extracts this process's share of the features that an interrupted run has not."""
    processes.wait_for_all()  # until all have read what has been done
    missing = processes.share_of(numpy.flatnonzero(~partial.done))
    n_done = int(partial.done.sum())
    if n_done and processes.is_main:
        print(f'continuing after {n_done} of {len(paths)} images', file=sys.stderr)
    if partial.size is not None:
        check_fits(output, (n_rows, partial.size))
    with tqdm.tqdm(total=len(missing), unit='image', disable=None, leave=False) as progress:
        missing_paths = [paths[index] for index in missing]
        for indices, features in extractor.extract(missing_paths, IMAGES_AT_ONCE, print_unreadable):
            if partial.size is None:
                # Checked now, not after hours.
                check_fits(output, (n_rows, features.shape[1]))
            partial.put(missing[indices], features)
            progress.update(len(indices))


def report(output, size, n_extracted, n_images):
    print_line(f'wrote {output}: {size} features of each of {n_extracted} images')
    if n_extracted < n_images:
        print(
            f'the features of {n_images - n_extracted} unreadable images are NaN, which train.py '
            'rejects; replace the images and repeat the command to extract those only',
            file=sys.stderr,
        )


if __name__ == '__main__':
    run_main(main)
