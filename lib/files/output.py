"""Writing files so that a crash never leaves half of one."""

import contextlib
import errno
import fcntl
import json
import os
import stat
from pathlib import Path

from lib.errors import InputError

# What a file is called until it is complete.
TEMPORARY_SUFFIX = '.tmp'


@contextlib.contextmanager
def open_output(path):
    """Yields an open file, binary, that becomes ``path`` when the block ends.

    All that this program writes goes through here. The data are written to ``PATH.tmp``, in a
    folder that is created if need be, and are on the disk before that file replaces ``path``. If
    the block raises an exception, ``PATH.tmp`` is removed and ``path`` is left alone; the
    ``PATH.tmp`` of a process that was killed is overwritten by the next one. Of a symbolic link,
    the file that it names is replaced.

    Args:
        path (str): The file to write.

    Raises:
        OSError: If the file cannot be written; ``filename`` is ``path``.
        InputError: If ``path`` is a pipe or a device.
    """
    path = os.fspath(path)
    with errors_naming(path):
        _check_kind(path)
        target = os.path.realpath(path)
        temporary = target + TEMPORARY_SUFFIX
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _remove_if_exists(temporary)
        file = open(temporary, 'x+b')  # noqa: SIM115
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            _remove_if_exists(temporary)
            raise


def check_outputs(outputs, inputs=()):
    """Checks the files to write, before the work whose results they are to hold.

    Args:
        outputs (iterable of str): The files to write.
        inputs (iterable of str): The files that are read; they need not exist.

    Raises:
        InputError: If two outputs have the same path, or an output is also an input, a pipe or a
            device.
        OSError: If a file cannot be created there, or an output is a folder.
    """
    outputs = [os.fspath(path) for path in outputs]
    targets = set()
    for path in outputs:
        if path in ('', '-'):
            raise InputError(f'{path!r} is not the name of a file to write; choose one')
        with errors_naming(path):
            _check_kind(path)
            target = os.path.realpath(path)
            if target in targets:
                raise InputError(f'{path}: is the path of two outputs; change one of them')
            targets.add(target)
            _check_can_be_created(target)
    identities = {_identity(path) for path in inputs} - {None}
    for path in outputs:
        for written in path, os.path.realpath(path) + TEMPORARY_SUFFIX:
            if _identity(written) in identities:  # by whatever path
                raise InputError(f'{written}: is also an input; choose another output')


@contextlib.contextmanager
def errors_naming(path):
    """Lets an ``OSError`` in the block name a file, unless it names another one already."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not from the system
            raise
        if error.filename is not None and not str(error.filename).endswith(TEMPORARY_SUFFIX):
            raise
        raise OSError(error.errno, os.strerror(error.errno), path) from error


def lock(file, path):
    """Keeps other processes from locking a file until it is closed.

    Args:
        file (file): The file, open to be written. On a file system without locks it is open to all.
        path (str): What is locked, for the error message.

    Raises:
        InputError: If another process has locked it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f'{path}: another process is writing to it') from error
    except OSError:
        pass  # a file system without locks


def write_json(path, content):
    """Writes indented JSON; bytes of file names that are not UTF-8 become JSON escapes."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with open_output(path) as file:
        file.write(text.encode(errors='backslashreplace'))


def _check_kind(path):
    """Checks that an output, if it exists, is a regular file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise InputError(f'{path}: is a pipe or a device; choose a regular file as output')


def _check_can_be_created(target):
    """Creates and removes a temporary file, in the nearest folder that exists."""
    folder = next(parent for parent in Path(target).parents if parent.exists())
    temporary = folder / (os.path.basename(target) + TEMPORARY_SUFFIX)
    # An old one says as much, and another process may be writing it.
    with contextlib.suppress(FileExistsError), open(temporary, 'xb'):
        os.remove(temporary)


def _identity(path):
    """Returns the device and inode of a file, or None if it does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a null character, as in a list of images that is none
        return None
    return status.st_dev, status.st_ino


def _remove_if_exists(path):
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
