"""Running a script: its exit code, error messages in one line, signals, and what is printed."""

import errno
import io
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
    stdout, _ = map(_make_unbreakable, ('stdout', 'stderr'))
    for number in EXIT_CODES:
        # As nohup ignores SIGHUP, and a shell without job control Ctrl-C in the background.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise_exception)
    warnings.formatwarning = _format_warning
    try:
        _check_working_directory()
        status = main()
        sys.stdout.flush()
        if stdout is not None and stdout.error is not None:
            raise stdout.error
    except (InputError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and 'new thread' not in str(error):
            raise
        wait_before_error()
        print('error:', _one_line(_message_of(error)), file=sys.stderr)
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


def _check_working_directory():
    try:
        os.getcwd()
    except FileNotFoundError:
        raise InputError('the working directory has been deleted; change to another one') from None


def _raise_exception(number, frame):
    """Lets a signal end a script like an exception, so that temporary files are removed."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(EXIT_CODES[number])


class UnbreakableStream(io.FileIO):
    """An output stream that discards what can no longer be written instead of ending the script.

    The program that reads it, such as head, may have exited, or the terminal may be closed.

    Attributes:
        error (OSError): Why something could not be written, if there may be a reader, as on a full
            disk; names the stream.
    """

    error = None

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                self.error = OSError(error.errno, error.strerror, 'standard output')
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def _make_unbreakable(name):
    """Replaces a standard stream by an unbreakable one, and returns that; None without a file."""
    stream = getattr(sys, name)
    if stream is None:  # closed by whoever started the script
        setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))  # noqa: SIM115
        return None
    try:
        output = UnbreakableStream(stream.fileno(), 'w', closefd=False)
    except io.UnsupportedOperation:  # an object in its place
        return None
    text = io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=stream.encoding,
        # File names may hold bytes that the terminal cannot show.
        errors='backslashreplace',
        # Python writes through to standard error, where notes must not wait for the end.
        line_buffering=stream.line_buffering or name == 'stderr',
    )
    setattr(sys, name, text)
    return output


def _format_warning(message, category, *location, default_format=warnings.formatwarning):
    if issubclass(category, InputWarning):
        return f'note: {_one_line(str(message))}\n'
    return default_format(message, category, *location)


def _message_of(error):
    if isinstance(error, InputError):
        flag = f'--{error.option.replace("_", "-")} ' if error.option else ''
        return flag + error.message
    if isinstance(error, RuntimeError):
        return f'{error}: the limit of threads is reached, see ulimit -u; end other programs'
    if isinstance(error, MemoryError):  # of the host or, with CuPy's subclass, of a GPU
        return f'not enough memory, try smaller batches or sizes ({error})'
    # A full disk or a read-only folder; h5py leaves out the file's name.
    return str(error) if error.filename is None else f'{error.filename}: {error.strerror}'


def _one_line(message):
    # Lines of libraries' messages are joined, other control characters escaped.
    return escape_control_characters(re.sub(r'\s*\n\s*', ' ', message.strip()))
