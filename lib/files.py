"""Reading and writing files so that a crash never leaves half of one."""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path

from lib.errors import InputError

TEMPORARY_SUFFIX = '.tmp'
# How long a named pipe may have no reader when its output is complete.
SECONDS_FOR_READER = 10


# The files that are to be replaced at the end of a replace_together(), None outside.
_complete = None


@contextlib.contextmanager
def replace_together():
    """Lets the files that are written in the block replace the old ones when all are complete."""
    global _complete
    _complete = []
    try:
        yield
        for temporary, target in _complete:
            os.replace(temporary, target)
    finally:
        for temporary, _ in _complete:
            with contextlib.suppress(OSError):  # replaced
                os.remove(temporary)
        _complete = None


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
    """
    path = os.fspath(path)
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = _temporary_path(target)
    try:
        if is_special_file(path):
            # A pipe cannot be read back or written out of order, as HDF5 needs to.
            with tempfile.TemporaryFile() as file:
                yield file
                file.seek(0)
                with _open_special_file(path) as special_file:
                    shutil.copyfileobj(file, special_file)
            return
        _make_folder(folder)
        remove_leftovers(folder, name)
        try:
            with open(temporary, 'w+b') as file:
                try_lock(file)  # tells other processes that this one is alive
                yield file
                file.flush()
                os.fsync(file.fileno())
            if _complete is None:
                os.replace(temporary, target)
            else:
                _complete.append((temporary, target))
        finally:
            if (temporary, target) not in (_complete or ()):
                with contextlib.suppress(OSError):
                    os.remove(temporary)
    except OSError as error:
        if error.errno is None or error.filename not in (None, folder, temporary):
            raise
        raise OSError(error.errno, os.strerror(error.errno), path) from error


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


def _temporary_path(target):
    folder, name = os.path.split(target)
    return os.path.join(folder, f'.{name}.{os.getpid()}{TEMPORARY_SUFFIX}')


def remove_leftovers(folder, name=None):
    """Removes the temporary files of :func:`open_output` whose processes were killed.

    Args:
        folder (str): Where they are.
        name (str): Name of the file that they were to become; by default any.
    """
    pattern = r'\.' + (re.escape(name) if name else '.+') + r'\.\d+' + re.escape(TEMPORARY_SUFFIX)
    for leftover in os.listdir(folder):
        if re.fullmatch(pattern, leftover, re.DOTALL):
            path = os.path.join(folder, leftover)
            with contextlib.suppress(OSError), open(path, 'r+b') as file:
                if try_lock(file):
                    os.remove(path)


def try_lock(file):
    """Locks an open file, until it is closed or the process ends, however that may happen.

    Returns:
        bool: Whether no other process has locked it; True if the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def lock_folder(folder):
    """Keeps other processes out of a folder, which is created if need be.

    Raises:
        InputError: If another process has locked it.
    """
    existed, path = os.path.exists(folder), os.path.join(folder, '.lock')
    _make_folder(folder)
    with open(path, 'ab') as file:
        # Without a name, it is the file of a process that has just ended, and another may follow.
        if not try_lock(file) or os.fstat(file.fileno()).st_nlink == 0:
            raise InputError(f'{folder}: another process is writing to this folder')
        try:
            yield
        finally:
            os.remove(path)
            if not existed:
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(folder)


def check_outputs(outputs, inputs=()):
    """Checks the files to write, before the work whose results they are to hold.

    Args:
        outputs (iterable of str): The files to write.
        inputs (iterable of str): The files that are read, which may not exist.

    Raises:
        InputError: If two outputs are in each other's way, or an output is also an input.
        OSError: If a folder cannot be created or written to, or an output is a folder.
    """
    outputs = [os.fspath(path) for path in outputs]
    targets = [os.path.realpath(path) for path in outputs if not is_special_file(path)]
    folders = {folder for target in targets for folder in map(str, Path(target).parents)}
    for target in targets:
        if targets.count(target) > 1:
            raise InputError(f'{target}: is the file of two outputs; choose another for one')
        if target in folders:
            raise InputError(f'{target}: is an output, and the folder of another one')
    check_not_overwritten(inputs, targets)
    for path in outputs:
        _check_output(path)


def check_not_overwritten(inputs, outputs):
    """Checks that no file is read and then replaced.

    Args:
        inputs, outputs (iterable of str): The files that are read and written; they need not exist.

    Raises:
        InputError: If an output is the same file as an input, by whatever path.
    """
    identities = {_identity(path) for path in inputs} - {None}
    for path in outputs:
        if _identity(path) in identities:
            raise InputError(f'{path}: is also an input, which is not overwritten')


def _identity(path):
    """Returns what two paths of the same file have in common, None if there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a null character
        return None
    return status.st_dev, status.st_ino


def _check_output(path):
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if is_special_file(path):
        return
    target = os.path.realpath(path)
    temporary = _temporary_path(target)
    try:
        _make_folder(os.path.dirname(target))
        with open(temporary, 'wb'):
            os.remove(temporary)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno), path) from error


def check_input(path):
    """Checks that a file can be read from begin to end: a pipe or a device could block for ever.

    Raises:
        OSError: If the file is missing, a folder, a pipe or a device.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, 'not a regular file', path)


def join_below(folder, name):
    """Returns the path of a file in a folder, which a data set names.

    Raises:
        InputError: If the file is elsewhere: the name is absolute, or contains ``..`` or a link
            that leads out of the folder.
    """
    path = os.path.join(folder, name)
    root = os.path.realpath(folder)
    if os.path.commonpath((root, os.path.realpath(path))) != root:
        raise InputError(f'{path}: is not below {folder}')
    return path


def _make_folder(folder):
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
    except RecursionError:  # of hundreds of folders in each other
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), folder) from None


def is_special_file(path):
    """Returns whether something can only be written to, such as a pipe or a device.

    That includes ``/dev/stdout`` where it is redirected to a file, which others write to, too.
    """
    if os.path.abspath(path).startswith(('/dev/', '/proc/')):
        return True
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


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
