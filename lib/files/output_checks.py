"""Checks of the files to write, before the work whose results they are to hold."""

import errno
import os
import re
import stat
from pathlib import Path

from lib.errors import InputError
from lib.files.output import errors_naming, is_special_file, temporary_name, temporary_path


def check_outputs(outputs, inputs=()):
    """Checks the files to write, before the work whose results they are to hold.

    Args:
        outputs (iterable of str): The files to write.
        inputs (iterable of str): The files that are read; they need not exist.

    Raises:
        InputError: If two outputs have the same path, or an output is also an input.
        OSError: If a file cannot be created there, or an output is a folder.
    """
    outputs = [os.fspath(path) for path in outputs]
    targets = {}
    for path in outputs:
        if not is_special_file(path):
            target = os.path.realpath(path)
            if target in targets:
                raise InputError(f'{path}: is the path of two outputs; change one of them')
            targets[target] = path
    folders = {folder for target in targets for folder in map(str, Path(target).parents)}
    for target in folders & targets.keys():
        raise InputError(f'{targets[target]}: cannot be an output and the folder of another one')
    check_not_overwritten(inputs, targets.values())
    for path in outputs:
        _check_output(path)


def check_not_overwritten(inputs, outputs):
    """Checks that no file is read and then replaced or removed.

    Args:
        inputs, outputs (iterable of str): The files that are read and written; they need not exist.

    Raises:
        InputError: If an output is the same file as an input, by whatever path, or an input is
            named like a temporary file.
    """
    inputs = [os.fspath(path) for path in inputs]
    for path in inputs:
        if re.fullmatch(temporary_name('.*'), os.path.basename(path), re.DOTALL):
            raise InputError(f'{path}: is named like a temporary file; rename it')
    identities = {_identity(path) for path in inputs} - {None}
    for path in outputs:
        if _identity(path) in identities:
            raise InputError(f'{path}: is also an input; choose another output')


def _identity(path):
    """Returns the device and inode of a file, or None if it does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a null character
        return None
    return status.st_dev, status.st_ino


def _check_output(path):
    if not path:
        raise InputError('an output has an empty name')
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if is_special_file(path):
        return
    with errors_naming(path):
        folder, name = os.path.split(os.path.realpath(path))
        temporary = temporary_path(os.path.join(_nearest_folder(folder), name))
        with open(temporary, 'xb'):
            os.remove(temporary)


def _nearest_folder(folder):
    """Returns a folder, or the nearest one that exists of those that it is to be in."""
    while True:
        try:
            if not stat.S_ISDIR(os.stat(folder).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        except FileNotFoundError:
            folder = os.path.dirname(folder)
        else:
            return folder
