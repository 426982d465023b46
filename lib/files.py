"""Reading and writing files so that a crash never leaves half of one."""

import contextlib
import json
import os

import h5py

from lib.errors import InputError


@contextlib.contextmanager
def atomic_write(path):
    """Yields the name of a temporary file that replaces ``path`` when the block ends.

    The temporary file is beside ``path``, in a folder that is created if need be. If the
    block raises an exception, the temporary file is removed and ``path`` is left alone.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    os.makedirs(folder or '.', exist_ok=True)
    temporary = os.path.join(folder, f'.{name}.{os.getpid()}.tmp')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def write_json(path, content):
    """Writes indented JSON; bytes of file names that are not UTF-8 become JSON escapes."""
    with (
        atomic_write(path) as temporary,
        open(temporary, 'w', encoding='utf-8', errors='backslashreplace') as file,
    ):
        json.dump(content, file, indent=1, ensure_ascii=False)


@contextlib.contextmanager
def write_hdf5(path, kind):
    """Yields an open HDF5 file that becomes ``path`` and is marked as one of our formats.

    Args:
        path (str): File to write.
        kind (str): ``'captions'``, ``'model'`` or ``'snapshot'``.
    """
    with atomic_write(path) as temporary, h5py.File(temporary, 'w') as file:
        file.attrs['format'] = _format_of(kind)
        yield file


@contextlib.contextmanager
def read_hdf5(path, kind, written_by):
    """Yields an HDF5 file that :func:`write_hdf5` wrote, open for reading.

    Args:
        path (str): File to read.
        kind (str): As for :func:`write_hdf5`.
        written_by (str): The script that writes such files, for error messages.

    Raises:
        InputError: If the file is missing, of another kind or damaged; errors of h5py,
            NumPy and Chainer in the block count as damage.
    """
    try:
        with h5py.File(path) as file:
            if file.attrs.get('format') != _format_of(kind):
                raise InputError(f'{path}: not a {kind} file; {written_by} writes one')
            yield file
    except FileNotFoundError:
        raise InputError(f'{path}: no such file; {written_by} writes it') from None
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f'{path}: {os.strerror(error.errno)}') from error
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f'{path}: not a {kind} file, or damaged; {written_by} writes one'
        ) from error


def _format_of(kind):
    return f'show-and-tell {kind} 1'
