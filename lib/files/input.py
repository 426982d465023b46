"""Files to read."""

import codecs
import errno
import os
import shlex
import stat
import sys

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
    """Reads a text file in UTF-8, with or without a byte order mark; ``-`` is standard input.

    Raises:
        InputError: If it cannot be read, or is not one.
    """
    try:
        if path == '-':
            content = sys.stdin.buffer.read()
        else:
            check_input(path)
            with open(path, 'rb') as file:
                content = file.read()
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f'{path}: is in UTF-16; {_conversion(path, "UTF-16")}')
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = content.count(b'\n', 0, error.start) + 1
        raise InputError(
            f'{path}: line {line} is not in UTF-8; if it is in Latin-1, '
            f'{_conversion(path, "LATIN1")}'
        ) from error
    return text.replace('\r\n', '\n').replace('\r', '\n')


def _conversion(path, encoding):
    return f'iconv -f {encoding} -t UTF-8 {shlex.quote(os.fspath(path))} > utf8.txt converts it'
