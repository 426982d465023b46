"""Captions images with a trained model and the CNN that its features come from."""

import os
import sys

import tqdm

from lib.captioner import Captioner
from lib.cli.parser import ArgumentParser, add_device_flags, add_seed_flag
from lib.cli.run import escape_control_characters, print_unreadable, run_main
from lib.decoding.flags import add_decoding_flags, add_models_flag, decoding_options
from lib.device import set_seed
from lib.errors import InputError
from lib.evaluation.html_gallery import Card, write_gallery
from lib.features.flags import add_extraction_flags, extraction_options
from lib.features.image_paths import find_images
from lib.files.output import check_outputs, write_json


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        'images',
        nargs='*',
        metavar='IMAGE_OR_FOLDER',
        help='images, and folders, which are searched with all folders in them',
    )
    add_device_flags(parser)
    parser.add_argument(
        '-l',
        '--list',
        action='append',
        default=[],
        metavar='FILE',
        help='text file with an image or folder on each line, - for standard input; may be '
        'repeated',
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
        "how, like Karpathy's with VGG19's fc7; docs/data.md has the defaults of ONNX models.",
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
    paths = find_images(args.images, args.list)
    inputs = *args.model, args.cnn, args.index, *args.list, *paths
    check_outputs(filter(None, [args.json, args.html]), filter(None, inputs))
    captioner = Captioner.load(
        args.model, args.cnn, args.gpu, args.tf32, args.index, **extraction_options(args)
    )
    set_seed(args.seed)
    results = captioner.caption_images(paths, options, print_unreadable)
    n_captioned = write_captions(results, len(paths), args.json, args.html)
    return 0 if n_captioned == len(paths) else 1


def write_captions(results, n_images, json_path, html_path):
    """Prints the captions of each image as soon as they are there, and writes files of them.

    Args:
        results (iterable of tuple): The path and the captions of each image that can be read.
        n_images (int): The number of all images.
        json_path, html_path (str): The files to write, or None.

    Returns:
        int: The number of captioned images.
    """
    captioned = []
    with tqdm.tqdm(total=n_images, unit='image', disable=None, leave=False) as progress:
        for path, captions in results:
            lines = [f'# {path}', *(caption.text for caption in captions)]
            tqdm.tqdm.write('\n'.join(map(escape_control_characters, lines)))
            sys.stdout.flush()
            captioned.append((path, captions))
            progress.update()
    if html_path and captioned:
        cards = [Card(os.path.basename(path), path, captions) for path, captions in captioned]
        title = f'{len(cards)} images and their captions, each with its probability'
        write_gallery(html_path, title, cards)
    if json_path:
        content = [
            {'image': path, 'captions': [caption.to_json() for caption in captions]}
            for path, captions in captioned
        ]
        write_json(json_path, content)
    return len(captioned)


if __name__ == '__main__':
    run_main(main)
