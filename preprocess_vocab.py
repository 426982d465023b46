"""Turns Karpathy's dataset.json into captions.h5: a vocabulary and encoded captions."""

from lib.caption_file import Captions
from lib.command_line import ArgumentParser, positive_int, run
from lib.errors import InputError
from lib.karpathy import SPLITS, read_dataset
from lib.vocabulary import SPECIAL_WORDS


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument('dataset', help="Karpathy's dataset.json of Flickr8k, Flickr30k or COCO")
    parser.add_argument('-o', '--output', default='captions.h5', help='file to write')
    parser.add_argument('--min-count', type=positive_int, default=5, metavar='N',
                        help='words seen fewer than N times in the training splits become <UNK>')
    parser.add_argument('--train-splits', nargs='+', default=['train'], metavar='SPLIT',
                        help="splits to train on; COCO's restval is added with: train restval")
    return parser.parse_args()


def main():
    args = parse_args()
    images = read_dataset(args.dataset)
    check_splits(args, {image.split for image in images})
    captions = Captions.from_images(images, args.min_count, args.train_splits)
    if len(captions.vocabulary) == len(SPECIAL_WORDS):
        raise InputError(f'{args.dataset}: no word occurs {args.min_count} times or more in the '
                         'training splits; lower --min-count')
    captions.save(args.output)
    print_statistics(captions)
    print(f'written to {args.output}')


def check_splits(args, present):
    for split in args.train_splits:
        if split not in SPLITS:
            raise InputError(f'--train-splits: unknown split "{split}" '
                             f'(known: {", ".join(SPLITS)})')
        if split not in present:
            raise InputError(f'--train-splits: {args.dataset} has no image in the split "{split}"')


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
