import signal
import subprocess
import sys
import warnings

import pytest

from lib.cli.run import run_main
from lib.errors import InputError
from tests.helpers.scripts import ROOT, run_python


@pytest.fixture
def run(capsys, monkeypatch):
    """A function that runs a ``main`` as a script does; returns exit code and both outputs."""
    # Restored after the test, since run_main replaces it.
    monkeypatch.setattr(warnings, 'formatwarning', warnings.formatwarning)

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


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_script_like_an_exception(number, code):
    process = run_python(
        'import os, sys\n'
        'from lib.cli.run import run_main\n'
        'def main():\n'
        '    try:\n'
        '        os.kill(os.getpid(), int(sys.argv[1]))\n'
        '        print("went on")\n'
        '    finally:\n'
        '        print("removed")\n'
        'run_main(main)\n',
        int(number),
    )
    assert (process.returncode, process.stdout, process.stderr) == (code, 'removed\n', '')


def test_other_exceptions_are_not_caught(run):
    with pytest.raises(ZeroDivisionError):
        run(raises(ZeroDivisionError()))


def test_input_warnings_are_printed_as_notes():
    process = run_python(
        'import warnings\n'
        'from lib.cli.run import run_main\n'
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


def test_a_script_ends_quietly_when_nobody_reads_its_output():
    process = run_python(
        'import os\n'
        'from lib.cli.run import run_main\n'
        'reader, writer = os.pipe(); os.dup2(writer, 1); os.close(reader)\n'
        'run_main(lambda: print("a line"))\n'
    )
    assert (process.returncode, process.stderr) == (1, '')


def test_file_names_that_are_not_text_can_be_printed():
    process = run_python(
        'import os, sys\n'
        'from lib.cli.run import run_main\n'
        'sys.stdout.reconfigure(encoding="ascii")\n'
        'run_main(lambda: print(os.fsdecode(b"name_\\xff"), "caf\\u00e9"))\n'
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == 'name_\\udcff caf\\xe9\n'


def test_notes_are_there_at_once_wherever_standard_error_goes(tmp_path):
    code = (
        'import sys, warnings\n'
        'from lib.cli.run import run_main\n'
        'from lib.errors import InputWarning\n'
        'def main():\n'
        '    warnings.warn("early", InputWarning)\n'
        '    print(open(sys.argv[1]).read())\n'
        'run_main(main)\n'
    )
    with open(tmp_path / 'log', 'wb') as log:
        process = subprocess.run(
            [sys.executable, '-c', code, tmp_path / 'log'],
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
        )
    assert process.stdout == b'note: early\n\n'
