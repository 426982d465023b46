"""Turns a data set's captions into captions.h5: a vocabulary and encoded captions."""

import random

from lib.caption_file import Captions
from lib.command_line import ArgumentParser, non_negative_int, positive_int, run, seed
from lib.datasets import read_datasets
from lib.errors import InputError
from lib.karpathy import SPLITS
from lib.tokens import SEPARATORS
from lib.vocabulary import SPECIAL_WORDS


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument('dataset', nargs='+',
                        help="Karpathy's dataset.json; or COCO's captions_train2014.json and the "
                             'like, or text files with lines of file, tab and caption, each with '
                             'its split in front (val=FILE) or in its name')
    parser.add_argument('-o', '--output', default='captions.h5', help='file to write')
    parser.add_argument('--min-count', type=positive_int, default=5, metavar='N',
                        help='words seen fewer than N times in the training splits become <UNK>')
    parser.add_argument('--train-splits', nargs='+', default=['train'], metavar='SPLIT',
                        help="splits to train on; COCO's restval is added with: train restval")
    parser.add_argument('--tokens', choices=SEPARATORS, default='words',
                        help='what to split captions into; characters for Japanese and Chinese')
    parser.add_argument('--hold-out', type=non_negative_int, default=0, metavar='N',
                        help='training images, drawn at random, that become the split val')
    parser.add_argument('--seed', type=seed, default=0, metavar='N', help='for --hold-out')
    return parser.parse_args()


def main():
    args = parse_args()
    images = read_datasets(args.dataset, args.tokens)
    check_splits(args, {image.split for image in images})
    images = hold_out(args, images)
    captions = Captions.from_images(images, args.min_count, args.train_splits, args.tokens)
    if len(captions.vocabulary) == len(SPECIAL_WORDS):
        raise InputError(f'{", ".join(args.dataset)}: no word occurs {args.min_count} times or '
                         'more in the training splits; lower --min-count')
    captions.save(args.output)
    print_statistics(captions)
    print(f'written to {args.output}')


def check_splits(args, present):
    for split in args.train_splits:
        if split not in SPLITS:
            raise InputError(f'--train-splits: unknown split "{split}" '
                             f'(known: {", ".join(SPLITS)})')
        if split not in present:
            raise InputError(f'--train-splits: {", ".join(args.dataset)} has no image in the '
                             f'split "{split}"')


def hold_out(args, images):
    """Returns the images, some of those to train on being moved to the split val."""
    train = [place for place, image in enumerate(images) if image.split in args.train_splits]
    if args.hold_out >= len(train):
        raise InputError(f'--hold-out {args.hold_out}: there are {len(train)} training images')
    chosen = set(random.Random(args.seed).sample(train, args.hold_out))
    return [image._replace(split='val') if place in chosen else image
            for place, image in enumerate(images)]


def print_statistics(captions):
    print(f'{"split":<8}{"images":>10}{"captions":>12}{"tokens":>12}{"<UNK>":>9}{"longest":>9}')
    for split, count in captions.statistics().items():
        print(f'{split:<8}{count["images"]:>10,}{count["captions"]:>12,}{count["tokens"]:>12,}'
              f'{count["unknown"] / count["tokens"]:>9.2%}{count["longest"]:>9}')
    print(f'vocabulary: {len(captions.vocabulary):,} words, '
          f'{", ".join(SPECIAL_WORDS)} included')
    print(f'longest caption: {captions.lengths.max()} words')


if __name__ == '__main__':
    run(main)
