"""The flags of the scripts that decode captions."""

import dataclasses

from lib.decoding.decode import SEARCHES, takes
from lib.decoding.options import DecodingOptions
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


def add_decoding_flags(parser, several_beam_widths=False, without=()):
    """Adds ``--index`` and a flag for each field of :class:`DecodingOptions`.

    Flags that are not given are None.

    Args:
        parser (lib.cli.parser.ArgumentParser): Parser to add them to.
        several_beam_widths (bool): Let ``--beam-width`` take several values.
        without (collection of str): Fields that get no flag.
    """
    group = parser.add_argument_group('decoding')
    for field in dataclasses.fields(DecodingOptions):
        if field.name not in without:
            _add_flag(group, field, several_beam_widths and field.name == 'beam_width')
    group.add_argument(
        '--index',
        metavar='FILE',
        help='images to choose neighbors from, and their captions, from index_captions.py; turns '
        'on ranking by the captions of similar images',
    )


def _add_flag(group, field, takes_several):
    flag = f'--{field.name.replace("_", "-")}'
    metadata = field.metadata
    if field.type is bool:
        group.add_argument(flag, action='store_true', default=None, help=metadata['help'])
        return
    default = str(field.default)
    if metadata['with_index'] is not None:
        default += f'; with --index {metadata["with_index"]}'
    group.add_argument(
        flag,
        type=field.type,
        nargs='+' if takes_several else None,
        choices=metadata['choices'],
        metavar=None if metadata['choices'] else metadata['metavar'],
        help=f'{metadata["help"]} (default: {default})',
    )


def decoding_options(args, **changes) -> DecodingOptions:
    """Returns the options that the flags set.

    Args:
        args (argparse.Namespace): The flags.
        changes: Values that replace those of flags; None stands for the default.

    Raises:
        InputError: If an option is invalid, or flags contradict each other.
    """
    if args.mbr_neighbors and not args.index:
        raise InputError('needs --index, which index_captions.py writes', option='mbr_neighbors')
    names = [field.name for field in dataclasses.fields(DecodingOptions)]
    given = {name: getattr(args, name, None) for name in names}
    options = DecodingOptions.with_defaults(args.index is not None, **{**given, **changes})
    if args.index and not options.has_beam:
        raise InputError(f'{args.index}: --search {options.search} ranks no captions', 'index')
    for name, value in given.items():
        if value is not None and not _has_effect(name, options):
            raise InputError(f'has no effect with --search {options.search}', option=name)
    return options


def _has_effect(name, options):
    """Returns whether an option does anything; those that no search takes always do."""
    is_of_searches = any(takes(search, name) for search in SEARCHES)
    is_of_samples = name == 'temperature' and options.mbr_samples
    return takes(options.search, name) or not is_of_searches or is_of_samples
