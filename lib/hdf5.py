"""HDF5 files: written whole or not at all, and checked before they are used."""

import contextlib
import json
import os
import subprocess
import sys

import h5py
import numpy

from lib.checked_hdf5 import CheckedGroup, DamagedError, check_self_contained
from lib.errors import InputError
from lib.files import check_input, open_output

# The version of all formats. Version 1 had HDF5's strings of variable length, whose reader in
# HDF5's library never returns from some damaged files.
FORMAT_VERSION = 2
# Prints the strings of a file as JSON: those of data sets, and of attributes as "GROUP@NAME".
PRINT_STRINGS = """
import json, sys, h5py
strings = {}
def read(name, item):
    strings.update((f'{name}@{key}', text) for key, text in item.attrs.items() if type(text) is str)
    if isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype):
        if not item.is_virtual and not item.external:
            texts = item.asstr()[()]
            strings[name] = texts if type(texts) is str else texts.tolist()
with h5py.File(sys.argv[1]) as file:
    read('', file)
    file.visititems(read)
json.dump(strings, sys.stdout)
"""
# Seconds.
STRINGS_TIME_LIMIT = 20


@contextlib.contextmanager
def write_hdf5(path, kind=None):
    """Yields an open HDF5 file that becomes ``path``.

    Args:
        path (str): File to write.
        kind (str): ``'captions'``, ``'model'``, ``'snapshot'`` or ``'index'`` marks it as one of
            our formats.
    """
    with open_output(path) as file:
        output = HDF5Output(file)
        with h5py.File(output, 'w') as hdf5:
            if kind is not None:
                hdf5.attrs['format'] = numpy.bytes_(_format_of(kind, FORMAT_VERSION))
            yield hdf5
        output.raise_error()


def write_text(group, name, text):
    """Adds a text as an array of its bytes in UTF-8."""
    group[name] = numpy.frombuffer(text.encode(), 'uint8')


def write_texts(group, name, texts):
    """Adds texts as one array of bytes, and ``NAME_offsets``, where each begins and ends."""
    encoded = [text.encode() for text in texts]
    group[name] = numpy.frombuffer(b''.join(encoded), 'uint8')
    group[f'{name}_offsets'] = numpy.cumsum([0, *map(len, encoded)], dtype='int64')


@contextlib.contextmanager
def read_hdf5(path, kind, written_by):
    """Yields the content of a file that :func:`write_hdf5` wrote, as a :class:`CheckedGroup`.

    Args:
        path (str): File to read.
        kind (str): As for :func:`write_hdf5`.
        written_by (str): The script that writes such files, for error messages.

    Raises:
        InputError: If the file is missing, of another kind or damaged. In the block,
            ``ValueError`` and other errors of h5py, NumPy and Chainer count as damage.
    """
    what = f'{"an" if kind == "index" else "a"} {kind} file'
    try:
        check_input(path)
        with h5py.File(path) as file:
            check_self_contained(path, file)
            versions = {_format_of(kind, number): number for number in range(1, FORMAT_VERSION + 1)}
            strings = _strings_with(file, 'format')
            version = versions.get(read_text_attribute(file, 'format', strings=strings))
            if version is None:
                raise InputError(f'{path}: not {what}; {written_by} writes one')
            yield CheckedGroup(file, version, strings)
    except FileNotFoundError:
        raise InputError(f'{path}: no such file; {written_by} writes it') from None
    except DamagedError as error:
        raise InputError(
            f'{path}: not {what}, or damaged ({error}); {written_by} writes one'
        ) from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        if getattr(error, 'errno', None):  # of the system, not of damage
            raise InputError(f'{path}: {os.strerror(error.errno)}') from error
        raise InputError(f'{path}: not {what}, or damaged; {written_by} writes one') from error


def read_strings(path):
    """Returns all strings of a file, as :data:`PRINT_STRINGS` does.

    Another process reads strings of variable length, since HDF5's library does not return from
    reading some damaged ones, or crashes.

    Raises:
        DamagedError: If they cannot be read.
    """
    command = [sys.executable, '-I', '-c', PRINT_STRINGS, os.path.abspath(path)]
    try:
        process = subprocess.run(
            command, capture_output=True, timeout=STRINGS_TIME_LIMIT, check=True
        )
        return json.loads(process.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise DamagedError('its strings cannot be read') from error


def read_text_attribute(file, name, default=None, strings=None):
    """Returns an attribute of a file that is a text, of fixed or of variable length.

    Args:
        file (h5py.File): The file.
        name (str): Name of the attribute.
        default (str): What is returned if there is none, or it is not a text.
        strings (dict): From :func:`_strings_with`, if they have been read.

    Raises:
        DamagedError: See :func:`read_strings`.
    """
    strings = _strings_with(file, name) if strings is None else strings
    if f'@{name}' in strings:
        return strings[f'@{name}']
    text = file.attrs[name] if _has_fixed_length(file, name) else default
    return text.decode(errors='replace') if isinstance(text, bytes) else default


def _strings_with(file, name):
    """Returns all strings of a file if one of its attributes may be of variable length."""
    if name not in file.attrs or _has_fixed_length(file, name):
        return {}
    return read_strings(file.filename)


def _has_fixed_length(file, name):
    return name in file.attrs and file.attrs.get_id(name).dtype.kind == 'S'


class HDF5Output:
    """A file that h5py writes to, whose errors wait until HDF5 is done with it.

    HDF5's library crashes after a write that failed, on a full disk for example. So errors are
    recorded, not raised; :meth:`raise_error` raises the first one after the file is closed.

    Args:
        file (io.BufferedRandom): The file that is written, empty.
    """

    def __init__(self, file):
        self._file, self._error = file, None
        self._position = self._size = 0

    def seek(self, position, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + position
        return self._position

    def tell(self):
        return self._position

    def read(self, size=-1):
        data = self._keep_error(self._file.read, size) or b''
        self._position += len(data)
        return data

    def write(self, data):
        self._keep_error(self._file.write, data)
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def truncate(self, size=None):
        self._size = self._position if size is None else size
        self._keep_error(self._file.truncate, self._size)
        return self._size

    def flush(self):
        self._keep_error(self._file.flush)

    def raise_error(self):
        """Raises the first error of an operation, if there was any."""
        if self._error is not None:
            raise self._error

    def _keep_error(self, operate, *arguments):
        """Does something at the current position, unless something has failed already."""
        if self._error is None:
            try:
                self._file.seek(self._position)
                return operate(*arguments)
            except OSError as error:
                self._error = error
        return None


def _format_of(kind, version):
    return f'show-and-tell {kind} {version}'
