import argparse
import contextlib
import signal
import sys
import warnings

import pytest

from lib.cli.command_line import ArgumentParser, add_device_flags, add_seed_flag, run_main
from lib.cli.types import (
    fraction,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    seed_int,
)
from lib.device import select_device
from lib.errors import InputError
from tests.helpers.scripts import run_python


@pytest.fixture
def run(capsys, monkeypatch):
    """A function that runs a ``main`` as a script does; returns exit code and both outputs."""
    # Restored after the test, since run_main replaces it.
    monkeypatch.setattr(warnings, 'formatwarning', warnings.formatwarning)
    monkeypatch.setattr(sys, 'unraisablehook', sys.unraisablehook)

    def run(main):
        with pytest.raises(SystemExit) as raised:
            run_main(main)
        output = capsys.readouterr()
        return raised.value.code, output.out, output.err

    return run


def raises(error):
    """Returns a ``main`` that raises an exception."""

    def main():
        raise error

    return main


def test_exit_code_is_what_main_returns(run):
    assert run(lambda: print('done')) == (None, 'done\n', '')
    assert run(lambda: 1) == (1, '', '')


def test_input_error_is_printed_in_one_line(run):
    error = InputError('feats.mat: not a MATLAB file\n  at byte 3')
    assert run(raises(error)) == (2, '', 'error: feats.mat: not a MATLAB file at byte 3\n')


def test_option_of_an_input_error_is_printed_as_a_flag(run):
    error = InputError('3: must divide 20', option='beam_groups')
    assert run(raises(error)) == (2, '', 'error: --beam-groups 3: must divide 20\n')
    assert str(error) == 'beam_groups 3: must divide 20'


def test_os_error_is_printed_with_its_file(run):
    error = OSError(28, 'No space left on device', 'result/log')
    assert run(raises(error)) == (2, '', 'error: result/log: No space left on device\n')
    assert run(raises(OSError('cannot write'))) == (2, '', 'error: cannot write\n')


def test_interruption_exits_with_130(run):
    assert run(raises(KeyboardInterrupt())) == (130, '', '')


# Python can raise no exception in a destructor, which is where the signal arrives.
INTERRUPT_IN_DESTRUCTOR = """
import os, sys
from lib.cli.command_line import run_main
class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
def main():
    Interrupting()
    print('went on')
run_main(main)
"""


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruptions_are_not_lost_in_destructors(number, code):
    process = run_python(INTERRUPT_IN_DESTRUCTOR, int(number))
    assert (process.returncode, process.stdout, process.stderr) == (code, '', '')


def test_other_exceptions_are_not_caught(run):
    with pytest.raises(ZeroDivisionError):
        run(raises(ZeroDivisionError()))


def test_input_warnings_are_printed_as_notes():
    process = run_python(
        'import warnings\n'
        'from lib.cli.command_line import run_main\n'
        'from lib.errors import InputWarning\n'
        'def main():\n'
        '    warnings.warn("layer fc6 is used", InputWarning)\n'
        '    warnings.warn("something else")\n'
        'run_main(main)\n'
    )
    assert process.returncode == 0
    # From Python 3.13 on, a line of the source follows.
    note, other, *_ = process.stderr.splitlines()
    assert note == 'note: layer fc6 is used'
    assert other.endswith('UserWarning: something else')


@pytest.mark.parametrize(
    'close',
    [
        'reader, writer = os.pipe(); os.dup2(writer, 1); os.close(reader)',
        'sys.stdout = None; os.close(1)',
        'sys.stderr = None; os.close(2)',
    ],
)
def test_scripts_finish_whatever_has_become_of_their_output(tmp_path, close):
    process = run_python(
        'import os, pathlib, sys\n'
        'from lib.cli.command_line import run_main\n'
        f'{close}\n'
        'def main():\n'
        '    for _ in range(3):\n'
        '        print("a line", flush=True)\n'
        '        print("a note", file=sys.stderr)\n'
        '    pathlib.Path(sys.argv[1]).write_text("done")\n'
        '    return 3\n'
        'run_main(main)\n',
        tmp_path / 'file',
    )
    assert process.returncode == 3
    assert process.stderr in ('', 3 * 'a note\n')
    assert (tmp_path / 'file').read_text() == 'done'


def test_file_names_that_are_not_text_can_be_printed():
    process = run_python(
        'import os, sys\n'
        'from lib.cli.command_line import run_main\n'
        'sys.stdout.reconfigure(encoding="ascii")\n'
        'run_main(lambda: print(os.fsdecode(b"name_\\xff"), "caf\\u00e9"))\n'
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == 'name_\\udcff caf\\xe9\n'


@pytest.mark.parametrize(
    'number_type, valid, invalid',
    [
        (positive_int, {'1': 1, '300': 300}, ['0', '-1', '1.5', 'two', '', 'nan']),
        (non_negative_int, {'0': 0, '7': 7}, ['-1', '0.5', 'two', '']),
        (seed_int, {'0': 0, '4294967295': 2**32 - 1}, ['-1', '4294967296', '1.0', 'two']),
        (positive_float, {'1e-9': 1e-9, '2': 2.0}, ['0', '-1', 'nan', 'inf', 'fast', '']),
        (non_negative_float, {'0': 0.0, '0.5': 0.5}, ['-0.1', 'nan', 'inf', 'fast', '']),
        (fraction, {'0': 0.0, '0.999': 0.999}, ['1', '-0.1', 'nan', 'inf', 'half', '']),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_number_types(number_type, valid, invalid):
    for text, value in valid.items():
        assert number_type(text) == value
        assert type(number_type(text)) is type(value)
    for text in invalid:
        with pytest.raises(argparse.ArgumentTypeError, match=f'^{text!r} is not an? '):
            number_type(text)


def make_parser():
    parser = ArgumentParser('Does something.\n\nIn two paragraphs.', prog='script.py')
    add_device_flags(parser)
    add_seed_flag(parser, 'the order')
    parser.add_argument('-m', '--model', nargs='+', metavar='FILE', help='models')
    parser.add_argument('--list', action='append', default=[], metavar='FILE', help='lists')
    parser.add_argument('--splits', nargs='+', default=['train', 'val'], help='splits')
    parser.add_argument('--mean', nargs=3, metavar=('B', 'G', 'R'), help='mean values')
    parser.add_argument('--resize', choices=['warp', 'crop'], default='warp', help='how')
    parser.add_argument('--dropout', type=fraction, default=0, metavar='RATIO', help='share')
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
        ('--seed -1', ['--seed', "'-1'", 'an integer from 0 to 4294967295']),
        ('--resize stretch', ['--resize', 'stretch', 'warp', 'crop']),
        ('--dropout', ['--dropout', 'expected one argument']),
        ('--unknown', ['--unknown']),
        ('--drop 0.1', ['--drop']),
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
    recipe.write_text('# the paper\'s\n\n--seed 3  # flag\n--model "a b.h5" c.h5\n')
    parser = ArgumentParser('Does something.', fromfile_prefix_chars='@')
    add_seed_flag(parser, 'the order')
    parser.add_argument('--model', nargs='+')
    assert vars(parser.parse_args([f'@{recipe}'])) == {'seed': 3, 'model': ['a b.h5', 'c.h5']}
    assert parser.parse_args([f'@{recipe}', '--seed', '4']).seed == 4


@pytest.mark.parametrize('arguments', [['-o--'], ['--output=--']])
def test_two_dashes_are_not_a_value(arguments):
    parser = ArgumentParser('Does something.')
    parser.add_argument('-o', '--output')
    # Newer versions of Python take them as they are.
    with contextlib.suppress(InputError):
        assert parser.parse_args(arguments).output == '--'


@pytest.mark.parametrize('content', [b'--seed \xff', b'--seed 1\0'])
def test_recipes_that_are_not_text_are_refused(tmp_path, content):
    parser = ArgumentParser('Does something.', fromfile_prefix_chars='@')
    add_seed_flag(parser, 'all')
    (tmp_path / 'recipe.args').write_bytes(content)
    with pytest.raises(InputError, match='recipe.args: not a text file'):
        parser.parse_args([f'@{tmp_path}/recipe.args'])


def test_recipes_may_begin_with_a_byte_order_mark(tmp_path):
    parser = ArgumentParser('Does something.', fromfile_prefix_chars='@')
    add_seed_flag(parser, 'all')
    (tmp_path / 'recipe.args').write_text('--seed 7', encoding='utf-8-sig')
    assert parser.parse_args([f'@{tmp_path}/recipe.args']).seed == 7


def test_select_device_reports_unusable_gpus():
    assert select_device(-1).xp.__name__ == 'numpy'
    with pytest.raises(InputError, match='99: this GPU cannot be used') as raised:
        select_device(99)
    assert raised.value.option == 'gpu'
    with pytest.raises(InputError, match='needs a GPU') as raised:
        select_device(-1, tf32=True)
    assert raised.value.option == 'tf32'
