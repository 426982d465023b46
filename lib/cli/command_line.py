"""What all scripts share: the argument parser, flags, error messages and exit codes."""

import argparse
import errno
import io
import os
import re
import shlex
import signal
import sys
import warnings

import tqdm

from lib.cli.types import seed_int
from lib.errors import InputError, InputWarning
from lib.files.output import check_input
from lib.processes import COMMUNICATORS, end_all, wait_before_error

# Exit codes after signals, 128 and their number. A hangup counts as a termination, and so does
# SIGUSR1, which batch systems and mpiexec pass on to all processes.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143, signal.SIGUSR1: 143}


class ArgumentParser(argparse.ArgumentParser):
    """A parser whose ``--help`` shows defaults and whose errors are one line.

    ``@FILE`` among the arguments stands for the arguments in a file, such as the recipes; a
    script that takes recipes passes ``fromfile_prefix_chars='@'``. A line may hold a flag
    with its value; ``#`` starts a comment.
    """

    def __init__(self, description, **options):
        super().__init__(
            description=description, allow_abbrev=False, formatter_class=HelpFormatter, **options
        )

    def parse_known_args(self, args=None, namespace=None):
        for arg in sys.argv[1:] if args is None else args:
            if self.fromfile_prefix_chars and arg[:1] in self.fromfile_prefix_chars:
                _check_recipe(arg[1:])
        return super().parse_known_args(args, namespace)

    def _get_values(self, action, arg_strings):
        # From Python 3.12 on, it is a value like any other.
        if action.option_strings and '--' in arg_strings:
            self.error(f'argument {"/".join(action.option_strings)}: "--" is not a value')
        return super()._get_values(action, arg_strings)

    def convert_arg_line_to_args(self, arg_line):
        try:
            args = shlex.split(arg_line.removeprefix('\ufeff'), comments=True)
        except ValueError as error:
            self.error(f'{arg_line}: {error}')
        if any(arg.startswith('@') for arg in args):
            self.error(f'{arg_line}: a file of flags cannot include another one')
        return args

    def error(self, message):
        raise InputError(f'{message} (see --help)')


def _check_recipe(path):
    """Checks that a file of flags is text."""
    check_input(path)
    try:
        with open(path, encoding='utf-8') as file:
            is_text = '\0' not in file.read()
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise InputError(f'{path}: not a text file in UTF-8')


class HelpFormatter(argparse.HelpFormatter):
    """Adds defaults, where there are any, and names a flag's value once."""

    def _fill_text(self, text, width, indent):
        fill = super()._fill_text
        return '\n\n'.join(fill(part, width, indent) for part in text.strip().split('\n\n'))

    def _get_help_string(self, action):
        default = action.default
        if (
            default is None
            or default is argparse.SUPPRESS
            or isinstance(default, bool)
            or default == []
        ):
            return action.help
        values = default if isinstance(default, (list, tuple)) else [default]
        return f'{action.help} (default: {" ".join(map(str, values))})'

    def _format_action_invocation(self, action):
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        metavar = self._get_default_metavar_for_optional(action)
        return f'{", ".join(action.option_strings)} {self._format_args(action, metavar)}'


def add_device_flags(parser):
    parser.add_argument(
        '-g', '--gpu', type=int, default=-1, metavar='N', help='CUDA device number; -1 is the CPU'
    )
    parser.add_argument(
        '--tf32',
        action='store_true',
        help='faster, less precise products on Ampere and later GPUs (TensorFloat-32)',
    )


def add_communicator_flag(parser):
    parser.add_argument(
        '--communicator',
        choices=COMMUNICATORS,
        help='connect the processes that mpiexec has started: naive for CPUs, flat or pure_nccl '
        'for GPUs; see docs/distributed.md',
    )


def add_seed_flag(parser, used_for):
    parser.add_argument(
        '--seed', type=seed_int, default=0, metavar='N', help=f'random seed for {used_for}'
    )


def print_unreadable(error):
    """Names an unreadable image on standard error, without disturbing a progress bar."""
    tqdm.tqdm.write(f'unreadable: {escape_control_characters(str(error))}', file=sys.stderr)


def print_line(text, file=None):
    """Prints a line that may contain names of files, to standard output by default."""
    print(escape_control_characters(text), file=file)


def escape_control_characters(text):
    """Returns a text, such as a file's name, that takes one line and does nothing to a terminal."""
    return re.sub(
        r'[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]',
        lambda match: match[0].encode('unicode_escape').decode(),
        text,
    )


def run_main(main):
    """Runs a script's ``main`` and exits with its result, or with 2 for wrong input."""
    _prepare_standard_streams()
    _handle_signals()
    warnings.formatwarning = _format_warning
    message = None
    try:
        status = main()
        sys.stdout.flush()
        error = getattr(sys.stdout, 'buffer', None)
        error = getattr(getattr(error, 'raw', None), 'error', None)
        if error is not None:
            message = f'standard output: {error.strerror}'
    except InputError as error:
        message = _with_flag(error)
    except OSError as error:
        # A full disk or a read-only folder; h5py leaves out the file's name.
        message = str(error) if error.filename is None else f'{error.filename}: {error.strerror}'
    except MemoryError as error:
        # Of the host or, with CuPy's subclass, of a GPU.
        message = f'not enough memory, try smaller batches or sizes ({error})'
    except KeyboardInterrupt:
        status = EXIT_CODES[signal.SIGINT]
        end_all(status)
    except SystemExit as error:
        end_all(error.code)
        raise
    if message is not None:
        status = _print_error(message)
        end_all(status)
    sys.exit(status)


def _handle_signals():
    """Lets signals end a script like an exception, so that temporary files are removed."""
    for number in EXIT_CODES:
        # As nohup ignores SIGHUP, and a shell without job control Ctrl-C in the background.
        if signal.getsignal(number) is not signal.SIG_IGN:
            is_interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else _exit)
    sys.unraisablehook = _exit_or_report


def _exit(number, frame):
    sys.exit(EXIT_CODES[number])


def _exit_or_report(unraisable, report=sys.unraisablehook):
    """Ends the process if a signal came where Python can raise nothing, as in a destructor."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        os._exit(EXIT_CODES[signal.SIGINT])
    if isinstance(unraisable.exc_value, SystemExit):
        os._exit(unraisable.exc_value.code)
    report(unraisable)


def _prepare_standard_streams():
    """Makes sure that printing never ends the work, whatever has become of the reader."""
    for name in 'stdout', 'stderr':
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started the script
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))  # noqa: SIM115
            continue
        try:
            output = UnbreakableStream(stream.fileno(), 'w', closefd=False)
        except io.UnsupportedOperation:
            continue  # no file, but an object in its place
        text = io.TextIOWrapper(
            io.BufferedWriter(output),
            encoding=stream.encoding,
            # File names may hold bytes that the terminal cannot show.
            errors='backslashreplace',
            line_buffering=stream.line_buffering,
        )
        setattr(sys, name, text)


class UnbreakableStream(io.FileIO):
    """An output stream that discards what can no longer be written.

    Its reader, such as head, may have exited, or its terminal been closed.

    Attributes:
        error (OSError): Why something could not be written, if there may be a reader, as on a full
            disk.
    """

    error = None

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                self.error = error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def _format_warning(message, category, *location, default_format=warnings.formatwarning):
    if issubclass(category, InputWarning):
        return f'note: {_one_line(str(message))}\n'
    return default_format(message, category, *location)


def _with_flag(error):
    if error.option is None:
        return error.message
    return f'--{error.option.replace("_", "-")} {error.message}'


def _print_error(message):
    wait_before_error()
    print('error:', _one_line(message), file=sys.stderr)
    return 2


def _one_line(message):
    # Lines of libraries' messages are joined, other control characters escaped.
    return escape_control_characters(re.sub(r'\s*\n\s*', ' ', message.strip()))
