import argparse

import pytest

from lib.cli.parser import ArgumentParser, add_device_flags, add_seed_flag, number
from lib.errors import InputError


@pytest.mark.parametrize(
    'parse, valid, invalid, expected',
    [
        (number(int, low=1), {'1': 1, '300': 300, str(2**31 - 1): 2**31 - 1},
         ['0', '-1', '1.5', 'two', '', 'nan', str(2**31)],
         'an integer of at least 1 and at most 2147483647'),
        (number(int, low=2, high=9), {'2': 2, '9': 9}, ['1', '10'],
         'an integer of at least 2 and at most 9'),
        (number(float, above=0), {'1e-9': 1e-9, '2': 2.0, '1000000': 1e6},
         ['0', '-1', 'nan', 'inf', '1e7', 'fast', ''], 'a number above 0 and at most 1000000'),
        (number(float, low=0, below=1), {'0': 0.0, '0.999': 0.999}, ['1', '-0.1', 'nan', '-inf'],
         'a number of at least 0 and below 1'),
    ],
)  # fmt: skip
def test_numbers_are_in_their_range(parse, valid, invalid, expected):
    for text, value in valid.items():
        assert parse(text) == value
        assert type(parse(text)) is type(value)
    for text in invalid:
        with pytest.raises(argparse.ArgumentTypeError) as raised:
            parse(text)
        assert str(raised.value) == f'{text!r} is not {expected}'


def make_parser(**options):
    parser = ArgumentParser('Does something.\n\nIn two paragraphs.', prog='script.py', **options)
    add_device_flags(parser)
    add_seed_flag(parser, 'the order')
    parser.add_argument('-m', '--model', nargs='+', metavar='FILE', help='models')
    parser.add_argument('--list', action='append', default=[], metavar='FILE', help='lists')
    parser.add_argument('--splits', nargs='+', default=['train', 'val'], help='splits')
    parser.add_argument('--mean', nargs=3, metavar=('B', 'G', 'R'), help='mean values')
    parser.add_argument('--resize', choices=['warp', 'crop'], default='warp', help='how')
    parser.add_argument('--dropout', type=float, default=0, metavar='RATIO', help='share')
    parser.add_argument('--resume', action='store_true', help='continue')
    return parser


def test_help_shows_defaults_that_exist_and_each_value_once(monkeypatch):
    monkeypatch.setenv('COLUMNS', '100')
    text = make_parser().format_help()
    assert 'Does something.\n\nIn two paragraphs.\n' in text
    lines = [' '.join(line.split()) for line in text[text.index('options:') :].splitlines()]
    assert lines[1:] == [
        '-h, --help show this help message and exit',
        '-g, --gpu N CUDA device number; -1 is the CPU (default: -1)',
        '--tf32 faster, less precise products on Ampere and later GPUs (TensorFloat-32)',
        '--seed N random seed for the order (default: 0)',
        '-m, --model FILE [FILE ...]',
        'models',
        '--list FILE lists',
        '--splits SPLITS [SPLITS ...]',
        'splits (default: train val)',
        '--mean B G R mean values',
        '--resize {warp,crop} how (default: warp)',
        '--dropout RATIO share (default: 0)',
        '--resume continue',
    ]


@pytest.mark.parametrize(
    'arguments, expected',
    [
        ('--seed -1', ['--seed', "'-1'", 'an integer of at least 0 and at most 4294967295']),
        ('--resize stretch', ['--resize', 'stretch', 'warp', 'crop']),
        ('--dropout', ['--dropout', 'expected one argument']),
        ('--unknown', ['--unknown']),
        ('--drop 0.1', ['--drop']),
        ('@recipe.args', ['@recipe.args']),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_parsing_errors_are_input_errors(arguments, expected):
    with pytest.raises(InputError) as raised:
        make_parser().parse_args(arguments.split())
    for part in [*expected, '(see --help)']:
        assert part in str(raised.value)


def test_recipes_hold_flags_with_values_and_comments(tmp_path):
    recipe = tmp_path / 'recipe.args'
    text = '# the paper\'s\n\n--seed 3  # flag\n--model "a b.h5" c.h5\n'
    recipe.write_text(text, encoding='utf-8-sig')  # with a byte order mark, as Notepad writes
    args = make_parser(recipes=True).parse_args([f'@{recipe}', '--dropout', '0.5'])
    assert (args.seed, args.model, args.dropout) == (3, ['a b.h5', 'c.h5'], 0.5)
    args = make_parser(recipes=True).parse_args([f'@{recipe}', '--seed', '4'])
    assert args.seed == 4


@pytest.mark.parametrize('content', [b'--seed \xff', b'--seed 1\0', b'--model "a b.h5'])
def test_files_that_are_no_recipes_are_refused(tmp_path, content):
    (tmp_path / 'recipe.args').write_bytes(content)
    with pytest.raises(
        InputError, match='recipe.args: (not a file of flags|line 1 is not in UTF-8)'
    ):
        make_parser(recipes=True).parse_args([f'@{tmp_path}/recipe.args'])


def test_recipes_do_not_include_others_and_must_exist(tmp_path):
    (tmp_path / 'recipe.args').write_text('@other.args')
    with pytest.raises(InputError, match='unrecognized arguments: @other.args'):
        make_parser(recipes=True).parse_args([f'@{tmp_path}/recipe.args'])
    with pytest.raises(InputError, match='none.args: No such file'):
        make_parser(recipes=True).parse_args([f'@{tmp_path}/none.args'])
