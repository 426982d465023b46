"""Reading and writing files so that a crash never leaves half of one."""

import contextlib
import errno
import io
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time

from lib.errors import InputError
from lib.locks import try_lock

TEMPORARY_SUFFIX = '.tmp'
# How long a named pipe may have no reader when its output is complete.
SECONDS_FOR_READER = 10


# The files that wait for the end of replace_together(), with their targets; None outside it.
_pending = None


@contextlib.contextmanager
def replace_together():
    """Delays replacing the old files until every file written in the block is complete."""
    global _pending
    _pending = []
    try:
        yield
        for file, target in _pending:
            with errors_naming(target):
                os.replace(file.name, target)
    finally:
        for file, _ in _pending:
            _discard(file)
        _pending = None


@contextlib.contextmanager
def open_output(path):
    """Yields an open file, binary, that becomes ``path`` when the block ends.

    All that this program writes goes through here. The data are written to a temporary file
    beside ``path``, in a folder that is created if need be, and are on the disk before it replaces
    ``path``. If that fails or the block raises an exception, the temporary file is removed and
    ``path`` is left alone. A device or a pipe is written to as it is; of a symbolic link, the file
    that it names is replaced.

    Args:
        path (str): The file to write.

    Raises:
        OSError: If the file cannot be written; ``filename`` is ``path``.
        InputError: If ``path`` is a pipe that no other process reads from.
    """
    path = os.fspath(path)
    open_file = _open_special_output if is_special_file(path) else _open_regular_output
    with open_file(path) as file:
        yield file


@contextlib.contextmanager
def _open_regular_output(path):
    target = os.path.realpath(path)
    file = None
    try:
        with errors_naming(path):
            make_folder(os.path.dirname(target))
            remove_leftovers(os.path.dirname(target), re.escape(os.path.basename(target)))
            file = _open_temporary(target, path)
        yield file
        with errors_naming(path):
            file.flush()
            os.fsync(file.fileno())
            if _pending is None:
                os.replace(file.name, target)
            else:
                _pending.append((file, target))
                file = None
    finally:
        if file is not None:
            _discard(file)


def _open_temporary(target, path):
    """Opens a temporary file and locks it, which tells other processes that this one is alive."""
    while True:
        file = io.BufferedRandom(OutputFile(temporary_path(target), path))
        # Another process may have taken it for a leftover before it was locked.
        if try_lock(file) is not False and os.fstat(file.fileno()).st_nlink:
            return file
        _discard(file)


def _discard(file):
    """Closes a temporary file, and removes it if it has not replaced its target."""
    with contextlib.suppress(OSError):  # of a full disk
        file.close()
    with contextlib.suppress(OSError):
        os.remove(file.name)


@contextlib.contextmanager
def _open_special_output(path):
    # A pipe cannot be read back or written out of order, as HDF5 needs to.
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        with errors_naming(path), _open_special_file(path) as special_file:
            shutil.copyfileobj(file, special_file)


def _open_special_file(path):
    """Opens a device or a pipe; a pipe that no process reads from is given some seconds."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY
    deadline = time.monotonic() + SECONDS_FOR_READER
    while True:
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
            if time.monotonic() > deadline:
                raise InputError(f'{path}: no other process reads from this pipe') from None
            time.sleep(0.1)
        else:
            os.set_blocking(descriptor, True)
            return open(descriptor, 'wb')


class OutputFile(io.FileIO):
    """A new file whose errors name another one, which it is to become.

    Args:
        temporary (str): The file.
        path (str): The file to name.
    """

    def __init__(self, temporary, path):
        super().__init__(temporary, 'x+')
        self._path = path

    def write(self, data):
        with errors_naming(self._path):
            return super().write(data)


@contextlib.contextmanager
def errors_naming(path):
    """Lets an ``OSError`` in the block name a file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not from the system
            raise
        raise OSError(error.errno, os.strerror(error.errno), path) from error


def temporary_path(target: str) -> str:
    """Returns the path of a temporary file, in the same folder, that is to become ``target``."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f'.{name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}')


def temporary_name(pattern: str) -> str:
    """Returns a regular expression of the names of temporary files.

    Args:
        pattern (str): A regular expression of the names of the files that they are to become.
    """
    return rf'\.({pattern})\.[0-9a-f]{{8}}{re.escape(TEMPORARY_SUFFIX)}'


def remove_leftovers(folder, pattern):
    """Removes the temporary files of :func:`open_output` whose processes were killed.

    Args:
        folder (str): Where they are.
        pattern (str): Regular expression of the names of the files that they were to become.
    """
    for leftover in os.listdir(folder):
        if re.fullmatch(temporary_name(pattern), leftover, re.DOTALL):
            path = os.path.join(folder, leftover)
            with contextlib.suppress(OSError), open(path, 'r+b') as file:
                if try_lock(file):
                    os.remove(path)


def make_folder(folder):
    """Creates a folder, and those that it is in, unless it exists.

    Raises:
        OSError: If that is impossible.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
    except RecursionError:  # of hundreds of folders in each other
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), folder) from None


def check_input(path):
    """Checks that a path is a regular file; a pipe or a device could block for ever.

    Raises:
        OSError: If the file is missing, a folder, a pipe or a device.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, 'not a regular file', path)


def join_below(folder, name):
    """Joins a folder and a file name that comes from a data set.

    Raises:
        InputError: If the file is elsewhere: the name is absolute, or contains ``..`` or a link
            that leads out of the folder.
    """
    path = os.path.join(folder, name)
    root = os.path.realpath(folder)
    if os.path.commonpath((root, os.path.realpath(path))) != root:
        raise InputError(f'{path}: is not below {folder}')
    return path


def is_special_file(path):
    """Returns whether something can only be written to, such as a pipe or a device.

    That includes ``/dev/stdout`` where it is redirected to a file, which others write to, too.
    """
    if re.fullmatch(r'/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+', os.path.abspath(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # a null character
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def write_json(path, content):
    """Writes indented JSON; bytes of file names that are not UTF-8 become JSON escapes."""
    with open_output(path) as file:
        file.write(_encode_json(content))


@contextlib.contextmanager
def write_json_list(path):
    """Yields a function that adds an item to a list, which is written as by :func:`write_json`.

    Each item is written at once, so that a list of any length needs no memory.
    """
    with open_output(path) as file:

        def add(item):
            file.write(b',\n ' if file.tell() else b'[\n ')
            file.write(_encode_json(item).replace(b'\n', b'\n '))

        yield add
        file.write(b'\n]' if file.tell() else b'[]')


def _encode_json(content):
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode(errors='backslashreplace')
