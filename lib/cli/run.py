"""Running a script: its exit code, error messages in one line, signals, and what is printed."""

import os
import re
import signal
import sys
import warnings

import tqdm

from lib.errors import InputError, InputWarning
from lib.processes import end_all, wait_before_error

# Exit codes after signals, 128 and their number. A hangup counts as a termination, and so does
# SIGUSR1, which batch systems and mpiexec pass on to all processes.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143, signal.SIGUSR1: 143}


def run_main(main):
    """Runs a script's ``main`` and exits with its result, or with 2 for wrong input."""
    if hasattr(sys.stdout, 'reconfigure'):  # not closed, nor that of a notebook
        # File names may hold bytes that the terminal cannot show.
        sys.stdout.reconfigure(errors='backslashreplace')
    for number in EXIT_CODES:
        # As nohup ignores SIGHUP, and a shell without job control Ctrl-C in the background.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise_exception)
    warnings.formatwarning = _format_warning
    try:
        status = main()
        print(end='', flush=True)
    except BrokenPipeError:  # a reader such as head has seen enough
        # Or Python would fail when it ends and flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except (InputError, OSError, MemoryError) as error:
        wait_before_error()
        print(f'error: {_one_line(_message_of(error))}', file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = EXIT_CODES[signal.SIGINT]
    except SystemExit as error:
        status = error.code
    else:
        sys.exit(status)
    end_all(status)
    sys.exit(status)


def print_line(text, file=None):
    """Prints a line that may contain names of files, to standard output by default."""
    print(escape_control_characters(text), file=file)


def print_unreadable(error):
    """Names an unreadable image on standard error, without disturbing a progress bar."""
    tqdm.tqdm.write(f'unreadable: {escape_control_characters(str(error))}', file=sys.stderr)


def escape_control_characters(text):
    """Returns a text, such as a file's name, that takes one line and does nothing to a terminal."""
    return re.sub(
        r'[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]',
        lambda match: match[0].encode('unicode_escape').decode(),
        text,
    )


def _raise_exception(number, frame):
    """Lets a signal end a script like an exception, so that temporary files are removed."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(EXIT_CODES[number])


def _format_warning(message, category, *location, default_format=warnings.formatwarning):
    if issubclass(category, InputWarning):
        return f'note: {_one_line(str(message))}\n'
    return default_format(message, category, *location)


def _message_of(error):
    if isinstance(error, InputError):
        flag = f'--{error.option.replace("_", "-")} ' if error.option else ''
        return flag + error.message
    if isinstance(error, MemoryError):  # of the host or, with CuPy's subclass, of a GPU
        return f'not enough memory, try smaller batches or sizes ({error})'
    # A full disk or a read-only folder; h5py leaves out the file's name.
    return str(error) if error.filename is None else f'{error.filename}: {error.strerror}'


def _one_line(message):
    # Lines of libraries' messages are joined, other control characters escaped.
    return escape_control_characters(re.sub(r'\s*\n\s*', ' ', message.strip()))
