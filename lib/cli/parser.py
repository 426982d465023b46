"""The argument parser of all scripts, and the flags that they share."""

import argparse
import os
import re
import shlex
import sys

from lib.errors import InputError
from lib.files.input import read_utf8

# The folder of the scripts.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# What numbers may be at most, where nothing else limits them.
MAX_INT = 2**31 - 1
MAX_FLOAT = 1_000_000


class ArgumentParser(argparse.ArgumentParser):
    """A parser whose ``--help`` shows defaults and whose errors are one line.

    Args:
        description (str): The script's docstring.
        recipes (bool): Let ``@FILE`` among the arguments stand for those in a file of flags.
    """

    def __init__(self, description, recipes=False, **options):
        super().__init__(
            description=description, allow_abbrev=False, formatter_class=HelpFormatter, **options
        )
        self._recipes = recipes

    def parse_known_args(self, args=None, namespace=None):
        args = list(sys.argv[1:] if args is None else args)
        if self._recipes:
            args = [part for arg in args for part in _read_recipe(arg)]
        args = [_expand_home(arg) for arg in args]
        return super().parse_known_args(args, namespace)

    def error(self, message):
        raise InputError(f'{message} (see --help)')


def _read_recipe(arg):
    """Returns the arguments in a file of flags, ``@FILE``, or an argument of any other kind.

    A line may hold several flags with their values; ``#`` starts a comment. A file that is not in
    the working directory is looked for beside the scripts.
    """
    if not arg.startswith('@'):
        return [arg]
    path = os.path.expanduser(arg[1:])
    if not os.path.exists(path) and os.path.exists(os.path.join(ROOT, path)):
        path = os.path.join(ROOT, path)
    text = read_utf8(path)
    try:
        if '\0' in text:
            raise ValueError('it contains a null character')
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise InputError(f'{path}: not a file of flags ({error})') from error


def _expand_home(arg):
    """Expands ``~`` where the shell does not: in recipes, ``--flag=~/file`` and ``val=~/file``."""
    name, separator, path = arg.partition('=') if re.match(r'[\w-]+=~', arg) else ('', '', arg)
    return name + separator + os.path.expanduser(path)


class HelpFormatter(argparse.HelpFormatter):
    """Adds defaults, where there are any, and names a flag's value once."""

    def _fill_text(self, text, width, indent):
        fill = super()._fill_text
        return '\n\n'.join(fill(part, width, indent) for part in text.strip().split('\n\n'))

    def _get_help_string(self, action):
        default = action.default
        if default in (None, argparse.SUPPRESS, []) or isinstance(default, bool):
            return action.help
        values = default if isinstance(default, (list, tuple)) else [default]
        return f'{action.help} (default: {" ".join(map(str, values))})'

    def _format_action_invocation(self, action):
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        metavar = self._get_default_metavar_for_optional(action)
        return f'{", ".join(action.option_strings)} {self._format_args(action, metavar)}'


def number(kind, low=None, high=None, above=None, below=None):
    """Returns the type of a flag whose values are numbers in a range.

    Args:
        kind (type): ``int`` or ``float``.
        low, high (number): Least and greatest value; one of ``low`` and ``above`` must be given.
            Without ``high`` and ``below`` a value may be at most two billion (int) or a million.
        above, below (number): What a value must exceed, and stay below.

    Returns:
        callable: From text to a number; for ``add_argument(type=...)``.

    Example:
        >>> number(float, above=0, high=1)('0.5')
        0.5
    """
    if high is None and below is None:
        high = MAX_INT if kind is int else MAX_FLOAT
    expected = 'an integer' if kind is int else 'a number'
    expected += f' above {above}' if low is None else f' of at least {low}'
    expected += f' and below {below}' if high is None else f' and at most {high}'

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        is_valid = (
            value is not None
            and (value > above if low is None else value >= low)
            and (value < below if high is None else value <= high)
        )
        if not is_valid:
            raise argparse.ArgumentTypeError(f'{text!r} is not {expected}')
        return value

    return parse


def add_device_flags(parser):
    parser.add_argument(
        '-g', '--gpu', type=int, default=-1, metavar='N', help='CUDA device number; -1 is the CPU'
    )
    parser.add_argument(
        '--tf32',
        action='store_true',
        help='faster, less precise products on Ampere and later GPUs (TensorFloat-32)',
    )


def add_seed_flag(parser, used_for):
    parser.add_argument(
        '--seed',
        type=number(int, low=0, high=2**32 - 1),
        default=0,
        metavar='N',
        help=f'random seed for {used_for}',
    )
