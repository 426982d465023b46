"""Extracts the features of a data set's images with a CNN."""

import os
import sys

import numpy
import tqdm

from lib.captions.annotations import parse_split, read_dataset
from lib.cli.parser import ArgumentParser, add_communicator_flag, add_device_flags
from lib.cli.run import print_line, print_unreadable, run_main
from lib.device import select_device
from lib.errors import InputError
from lib.features.extractor import FeatureExtractor
from lib.features.flags import add_extraction_flags, extraction_options
from lib.features.image_paths import locate_images
from lib.features.partial_file import PartialFeatures, partial_path
from lib.features.writer import check_fits, check_suffix, save_features
from lib.files.fingerprint import fingerprint
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
    processes = connect_processes(args.communicator)
    # All images that have a number, so that the files of several extractions fit together.
    images = read_dataset(args.dataset, with_empty=True)
    names = [image.filename for image in images]
    paths = locate_images(args.image_root, names, [image.listed_in for image in images])
    if processes.is_main:
        inputs = [args.cnn, *(parse_split(file)[1] for file in args.dataset), *filter(None, paths)]
        partial_paths = [partial_path(args.output, rank) for rank in range(processes.size)]
        check_outputs([args.output, *partial_paths], inputs)
        check_suffix(args.output)
    imgids = numpy.array([image.imgid for image in images])
    n_rows = int(imgids.max()) + 1
    check_density(args.dataset, len(images), n_rows)
    check_exist(args, names, paths)
    sizes = [os.path.getsize(path) if path else -1 for path in paths]
    # Those that are left out are named when they are read.
    paths = [path or os.path.join(args.image_root, name) for path, name in zip(paths, names)]
    device = select_device(processes.local_gpu(args.gpu), args.tf32)
    extractor = FeatureExtractor.load(args.cnn, device, **extraction_options(args))

    settings = {
        **vars(extractor.source),
        'cnn': fingerprint(numpy.memmap(args.cnn, 'uint8', 'r')),
        'images': fingerprint(*(f'{image.imgid} {image.filename}' for image in images)),
    }
    partial = PartialFeatures(args.output, sizes, settings, processes.rank)
    try:
        extract(args.output, extractor, partial, paths, n_rows, processes)
    except (KeyboardInterrupt, SystemExit):
        if processes.is_main and partial.done.any():
            print_line(
                f'stopped: what has been extracted is kept in {partial_path(args.output)}; the '
                'same command continues',
                file=sys.stderr,
            )
        raise
    # Afterwards all features are in the files.
    has_features = numpy.any(processes.all_gather(partial.done), axis=0)
    if not has_features.any():
        raise InputError(f'--image-root {args.image_root}: none of the images can be read')
    is_complete = args.skip_unreadable or has_features.all()
    if processes.is_main and is_complete:
        features = partial.collect(imgids, n_rows)
        name_of_row = numpy.full(n_rows, '', object)
        name_of_row[imgids] = names
        save_features(args.output, features, extractor.source, name_of_row)
        report(args.output, features.shape[1], has_features)
        partial.remove()
    elif processes.is_main:
        report_incomplete(args.output, has_features)
    processes.wait_for_all()  # an exit code other than 0 ends all processes
    return 0 if is_complete else 1


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


def report_incomplete(output, has_features):
    print_line(
        f'{output} is not written, since {(~has_features).sum()} of {len(has_features)} images '
        'cannot be read: replace them and repeat the command, which extracts only those, or '
        'repeat it with --skip-unreadable to leave them out',
        file=sys.stderr,
    )


def report(output, size, has_features):
    n_left_out = int((~has_features).sum())
    print_line(f'wrote {output}: {size} features of each of {has_features.sum()} images')
    if n_left_out:
        print(
            f'{n_left_out} images are left out; train.py, evaluate.py and index_captions.py leave '
            'them out, too',
            file=sys.stderr,
        )


if __name__ == '__main__':
    run_main(main)
