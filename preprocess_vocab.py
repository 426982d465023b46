"""Converts a data set's captions to captions.h5: a vocabulary and encoded captions."""

import random
import warnings

from lib.captions.annotations import parse_split, read_dataset
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import SPLITS
from lib.captions.tokenizer import SEPARATORS
from lib.captions.vocabulary import SPECIAL_TOKENS
from lib.cli.parser import ArgumentParser, add_seed_flag, number
from lib.cli.run import print_line, run_main
from lib.errors import InputError, InputWarning
from lib.files.output import check_outputs

# Share of the training tokens that may be <UNK> without a note.
MAX_UNKNOWN = 0.05


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        'dataset',
        nargs='+',
        metavar='[SPLIT=]FILE',
        help="Karpathy's dataset.json, COCO's annotations (captions_train2014.json), or lists of "
        'images and captions, with tabs or commas between them; for the last two, name the split '
        'in front (val=FILE) or in the file name, or add a list of the images of each split',
    )
    parser.add_argument(
        '-o', '--output', default='captions.h5', metavar='FILE', help='file to write'
    )
    parser.add_argument(
        '--min-count',
        type=number(int, low=1),
        default=5,
        metavar='N',
        help='tokens seen fewer than N times in the training splits become <UNK>',
    )
    parser.add_argument(
        '--train-splits',
        nargs='+',
        choices=SPLITS,
        default=['train'],
        metavar='SPLIT',
        help='splits to train on; "train restval" for the usual split of COCO',
    )
    parser.add_argument(
        '--tokenizer',
        choices=SEPARATORS,
        default='words',
        help='how to split captions; characters for Japanese and Chinese',
    )
    parser.add_argument(
        '--val-size',
        type=number(int, low=0),
        default=0,
        metavar='N',
        help='number of randomly chosen training images to move to the split val',
    )
    add_seed_flag(parser, 'choosing the images of --val-size')
    return parser.parse_args()


def main():
    args = parse_args()
    check_outputs([args.output], [parse_split(file)[1] for file in args.dataset])
    images = read_dataset(args.dataset, args.tokenizer)
    for split in args.train_splits:
        if not any(image.split == split and image.raw for image in images):
            raise InputError(
                f'--train-splits: {", ".join(args.dataset)} has no captions in the split "{split}"'
            )
    if args.val_size:
        images = move_to_validation(args, images)
    dataset = CaptionDataset.from_images(images, args.min_count, args.train_splits, args.tokenizer)
    if len(dataset.vocabulary) == len(SPECIAL_TOKENS):
        raise InputError(
            f'{", ".join(args.dataset)}: no token occurs {args.min_count} times in the training '
            'splits; lower --min-count'
        )
    dataset.save(args.output)
    print_statistics(dataset, args.min_count)
    print_line(f'wrote {args.output}')


def move_to_validation(args, images):
    """Returns the images, some of the training images moved to the split val."""
    train = [index for index, image in enumerate(images) if image.split in args.train_splits]
    if args.val_size >= len(train):
        raise InputError(f'--val-size {args.val_size}: there are only {len(train)} training images')
    chosen = set(random.Random(args.seed).sample(train, args.val_size))
    return [
        image._replace(split='val') if index in chosen else image
        for index, image in enumerate(images)
    ]


def print_statistics(dataset, min_count):
    print(f'{"split":<8}{"images":>10}{"captions":>12}{"tokens":>12}{"<UNK>":>9}{"longest":>9}')
    statistics = dataset.statistics()
    for split, count in statistics.items():
        unknown = count['unknown'] / max(1, count['tokens'])
        print(
            f'{split:<8}{count["images"]:>10,}{count["captions"]:>12,}{count["tokens"]:>12,}'
            f'{unknown:>9.2%}{count["longest"]:>9}'
        )
    if 'val' not in statistics:
        note = 'there is no split val, which train.py needs; --val-size N moves N images to it'
        warnings.warn(note, InputWarning, stacklevel=1)
    unknown = statistics['train']['unknown'] / statistics['train']['tokens']
    if unknown > MAX_UNKNOWN:
        note = (
            f'{unknown:.0%} of the training tokens occur fewer than {min_count} times and become '
            '<UNK>, which captions will contain; lower --min-count'
        )
        warnings.warn(note, InputWarning, stacklevel=1)
    print(f'vocabulary: {len(dataset.vocabulary):,} tokens, including {", ".join(SPECIAL_TOKENS)}')


if __name__ == '__main__':
    run_main(main)
