"""Reading and writing files so that a crash never leaves half of one."""

import contextlib
import errno
import json
import os
import stat
import tempfile


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
    temporary = os.path.join(folder, f'.{name}.{os.getpid()}.tmp')
    try:
        if is_special_file(path):
            with open(path, 'ab' if os.path.isfile(path) else 'wb') as file:
                yield file
            return
        _make_folder(folder)
        try:
            with open(temporary, 'w+b') as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(OSError):
                os.remove(temporary)
    except OSError as error:
        if error.errno is None or error.filename not in (None, folder, temporary):
            raise
        raise OSError(error.errno, os.strerror(error.errno), path) from error


def check_output(path):
    """Checks that a file can be written, before the work whose result it is to hold.

    Raises:
        OSError: If the folder cannot be created or written to, or ``path`` is a folder.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if is_special_file(path):
        return
    folder = os.path.dirname(os.path.realpath(path))
    try:
        _make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
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


def _make_folder(folder):
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None


def is_special_file(path):
    """Returns whether something can only be written to, such as a pipe or a device.

    That includes ``/dev/stdout`` where it is redirected to a file, which others write to, too.
    """
    if os.path.abspath(path).startswith(('/dev/', '/proc/')):
        return True
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def write_json(path, content):
    """Writes indented JSON; bytes of file names that are not UTF-8 become JSON escapes."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    with open_output(path) as file:
        file.write(text.encode(errors='backslashreplace'))
