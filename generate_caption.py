"""Captions images with a trained model and the CNN that its features come from."""

import contextlib
import itertools
import os
import sys

import tqdm

from lib.captioner import Captioner
from lib.cli.flags import add_communicator_flag, add_device_flags, add_seed_flag
from lib.cli.parser import ArgumentParser
from lib.cli.run import escape_control_characters, print_unreadable, run_main
from lib.decoding.flags import add_decoding_flags, add_models_flag, decoding_options
from lib.device import set_seed
from lib.errors import InputError
from lib.evaluation.html_gallery import Card, write_gallery
from lib.features.flags import add_extraction_flags, extraction_options
from lib.features.image_paths import find_images
from lib.files.output import check_outputs, write_json_list
from lib.processes import connect_processes


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        'images', nargs='*', metavar='IMAGE_OR_FOLDER', help='images, and folders of images'
    )
    add_device_flags(parser)
    add_communicator_flag(parser)
    parser.add_argument(
        '-l',
        '--list',
        action='append',
        default=[],
        metavar='FILE',
        help='text file with an image or folder on each line; may be repeated',
    )
    add_models_flag(parser)
    parser.add_argument(
        '--json', metavar='FILE', help='also write the captions and their log-probabilities here'
    )
    parser.add_argument(
        '--html', metavar='FILE', help='also write a page of the images with their captions here'
    )
    add_seed_flag(parser, '--search sample and --mbr-samples')
    add_decoding_flags(parser)
    add_extraction_flags(
        parser,
        "By default features are extracted like the model's, or, if the model does not record "
        "how, like Karpathy's with VGG19: fc7, 224 pixels, mean 103.939 116.779 123.68, warp.",
    )
    return parser.parse_args()


def main():
    args = parse_args()
    options = decoding_options(args)
    if not args.images and not args.list:
        raise InputError(
            'no images given; name images, folders or a --list, before -m, which takes every path '
            'after it'
        )
    processes = connect_processes(args.communicator)
    paths = processes.compute_on_main(find_images, args.images, args.list)
    if processes.is_main:
        outputs, inputs = [args.json, args.html], [*args.model, args.cnn, args.index, *args.list]
        check_outputs(*([path for path in names if path] for names in (outputs, inputs + paths)))
    captioner = Captioner.load(
        args.model,
        args.cnn,
        processes.local_gpu(args.gpu),
        args.tf32,
        args.index,
        **extraction_options(args),
    )
    set_seed(args.seed, processes.rank)
    results = caption_together(processes, captioner, paths, options)
    return write_captions(args, paths, results) if processes.is_main else 0


def caption_together(processes, captioner, paths, options):
    """Returns what :meth:`Captioner.caption_images` does, of which each process does a share."""
    if processes.size == 1:
        return captioner.caption_images(paths, options, print_unreadable)
    errors, share = [], processes.share_of(paths)
    captions_of = dict(captioner.caption_images(share, options, errors.append))
    all_captions = processes.merge_shares([captions_of.get(path) for path in share])
    for error in itertools.chain(*processes.all_gather(errors)):
        if processes.is_main:
            print_unreadable(error)
    return [(path, captions) for path, captions in zip(paths, all_captions) if captions is not None]


def write_captions(args, paths, results):
    """Prints captions of images, and writes them to the files that the flags name.

    Args:
        args (argparse.Namespace): The flags.
        paths (list of str): All images.
        results (iterable of tuple): The path and the captions of each that could be read.

    Returns:
        int: The exit code: 1 if not all could be read.
    """
    n_captioned, cards = 0, []
    json_output = write_json_list(args.json) if args.json else contextlib.nullcontext()
    with (
        json_output as write_result,
        tqdm.tqdm(total=len(paths), unit='image', disable=None, leave=False) as progress,
    ):
        for path, captions in results:
            lines = [
                f'# {escape_control_characters(path)}',
                *(escape_control_characters(caption.text) for caption in captions),
            ]
            tqdm.tqdm.write('\n'.join(lines))
            sys.stdout.flush()
            if args.json:
                write_result({'image': path, 'captions': [c.to_json() for c in captions]})
            if args.html:
                cards.append(Card(os.path.basename(path), path, captions))
            n_captioned += 1
            progress.update()
        if args.html:
            write_gallery(args.html, f'{n_captioned} images and their captions', cards)
    return 0 if n_captioned == len(paths) else 1


if __name__ == '__main__':
    run_main(main)
