"""Files to read."""

import errno
import os
import stat

from lib.errors import InputError


def check_input(path):
    """Checks that a path is a regular file; reading a pipe or a device could block for ever.

    Raises:
        OSError: If the file is missing, a folder, a pipe or a device.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, 'not a regular file', path)


def read_utf8(path) -> str:
    """Reads a text file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: If it cannot be read, or is not one.
    """
    try:
        check_input(path)
        with open(path, encoding='utf-8-sig') as file:
            return file.read()
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not a text file in UTF-8') from error


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
