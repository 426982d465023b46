"""The flags of the scripts that decode captions."""

import argparse
import dataclasses

from lib.cli.parser import number
from lib.decoding.decode import DecodingOptions
from lib.errors import InputError


def add_models_flag(parser):
    parser.add_argument(
        '-m',
        '--model',
        required=True,
        nargs='+',
        metavar='FILE',
        help='trained models, such as best.h5; several form an ensemble',
    )


def add_decoding_flags(parser, several_beam_widths=False):
    """Adds the flags.

    Args:
        parser (lib.cli.parser.ArgumentParser): Parser to add them to.
        several_beam_widths (bool): Let ``--beam-width`` take several values.
    """
    group = parser.add_argument_group('decoding')
    beam_width, note = DecodingOptions.beam_width, ''
    if several_beam_widths:
        beam_width, note = [beam_width], '; several values give a row of scores each'
    group.add_argument(
        '--beam-width',
        type=number(int, low=1),
        nargs='+' if several_beam_widths else None,
        default=beam_width,
        metavar='M',
        help=f'captions kept at each step of beam search{note}',
    )
    group.add_argument(
        '--max-length',
        type=number(int, low=1),
        default=DecodingOptions.max_length,
        metavar='N',
        help='maximum number of tokens of a caption',
    )
    group.add_argument(
        '--min-length',
        type=number(int, low=0),
        default=DecodingOptions.min_length,
        metavar='N',
        help='minimum number of tokens of a caption',
    )
    group.add_argument(
        '--length-normalization',
        type=number(float, low=0),
        default=DecodingOptions.length_normalization,
        metavar='POWER',
        help='rank captions by log-probability divided by length to this power; 0 ranks by '
        'log-probability, 1 by its mean per token',
    )
    group.add_argument(
        '--no-repeat-ngram',
        '--no-repeat',
        type=number(int, low=0),
        default=DecodingOptions.no_repeat_ngram,
        metavar='N',
        help='forbid repeating any N-gram within a caption; 0 turns this off',
    )
    for name, description in (
        ('bad-endings', 'end as no training caption does, as in "a dog in front of a"'),
        ('stutter', 'say up to ten words twice in a row, as in "a dog dog runs"'),
    ):
        group.add_argument(
            f'--{name}',
            action=argparse.BooleanOptionalAction,
            default=False,
            help=f'let captions {description}; unless given, they do not',
        )
    group.add_argument(
        '--beam-groups',
        '--groups',
        type=number(int, low=1),
        default=DecodingOptions.beam_groups,
        metavar='G',
        help='groups of diverse beam search, a divisor of the beam width; 1 is plain beam search',
    )
    group.add_argument(
        '--diversity-penalty',
        '--diversity',
        type=number(float, low=0),
        default=DecodingOptions.diversity_penalty,
        metavar='NATS',
        help='cost of a token that an earlier group has chosen in the same step',
    )
    group.add_argument(
        '--mbr-samples',
        '--consensus',
        type=number(int, low=0),
        default=DecodingOptions.mbr_samples,
        metavar='N',
        help='rerank the captions found by minimum Bayes risk against N sampled ones, such as '
        '300; 0 ranks by probability',
    )
    group.add_argument(
        '--mbr-neighbors',
        type=number(int, low=0),
        default=DecodingOptions.mbr_neighbors,
        metavar='K',
        help='rerank the captions found by minimum Bayes risk against those of the K most similar '
        'images of --index, such as 100, and against samples alike if there are any; 0 does not',
    )
    group.add_argument(
        '--index',
        metavar='FILE',
        help='images to choose neighbors from, and their captions, from index_captions.py',
    )
    group.add_argument(
        '--sample', action='store_true', help='draw captions at random instead of searching'
    )
    group.add_argument(
        '--temperature',
        type=number(float, above=0),
        default=DecodingOptions.temperature,
        metavar='T',
        help='temperature of --sample and --mbr-samples; below 1 probable tokens become more '
        'probable',
    )


def decoding_options(args, **changes) -> DecodingOptions:
    """Returns the options that the flags set.

    Args:
        args (argparse.Namespace): The flags; options without a flag keep their defaults.
        changes: Values that replace those of flags.

    Raises:
        InputError: If an option is invalid, or options contradict each other.
    """
    if args.mbr_neighbors and not args.index:
        raise InputError('needs --index, which index_captions.py writes', option='mbr_neighbors')
    if args.index and not args.mbr_neighbors:
        raise InputError(f'{args.index}: needs --mbr-neighbors, such as 100', option='index')
    names = [field.name for field in dataclasses.fields(DecodingOptions)]
    values = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return DecodingOptions(**{**values, **changes})
