"""The features in a file, row by row, whatever its format."""

import abc
import contextlib
import os
import re

import numpy

from lib.device import check_memory
from lib.errors import InputError

# Values converted or checked at a time: few enough to need little memory, many enough to make
# Python's overhead negligible.
BLOCK = 1 << 22
FLOAT32 = numpy.dtype('float32')


class FeatureMatrix(abc.ABC):
    """The features in a file, of which a subclass for each format reads the rows.

    Args:
        path (str): The file.
        shape (tuple of int): Images and size of the features, (N, D).
        dtype (numpy.dtype): The type of the values in the file.
        source (FeatureSource or ExternalSource): How the features were extracted, None if unknown.
        names (list of str): The file name of each row's image, empty where there is none; None if
            the file does not say.
        ids (array): The number of each row's image, (N,), int64; None if the file does not say.
        offset (int): Where in the file the values begin, if they are stored row after row; None
            otherwise.

    Attributes: those that are given.
    """

    def __init__(self, path, shape, dtype, source=None, names=None, ids=None, offset=None):
        self.path, self.shape, self.dtype, self.source = str(path), shape, dtype, source
        self.names, self.ids, self.offset = names, ids, offset
        self._identity = _identity(os.stat(path))
        for what, keys in (('filenames', names), ('ids', ids)):
            if keys is not None and len(keys) != len(self):
                raise InputError(
                    f'{path}: has {len(keys)} {what}, but features of {len(self)} images'
                )
        if names is not None and ids is not None:
            raise InputError(f'{path}: has both filenames and ids; one of them must go')

    def __len__(self):
        return self.shape[0]

    @abc.abstractmethod
    def read(self, rows):
        """Reads some rows, a block at a time.

        Args:
            rows (array): Which, rising, (n,), integers.

        Yields:
            tuple: A slice of ``rows``, a slice of dimensions, and the values, (n', D'), real
            numbers. A slice of dimensions may contain all of them.

        Raises:
            InputError: If the file is damaged.
        """

    def load(self, allocate=numpy.empty):
        """Returns all rows, (N, D), float32.

        Args:
            allocate (callable): See :func:`lib.features.feature_file.load_features`.
        """
        check_features_memory(self.path, self.shape)
        array = allocate(self.shape, 'float32')
        self.copy_rows(numpy.arange(len(self)), array, numpy.arange(len(self)))
        return array

    def copy_rows(self, rows, array, targets, add=False):
        """Copies some rows to an array.

        Args:
            rows (array): Which, in any order, (n,), integers.
            array (array): Where to, (N', D), float32.
            targets (array): The row of the array that each becomes, (n,), integers.
            add (bool): Whether to add to what is there.
        """
        order = numpy.argsort(rows, kind='stable')
        rows, targets = rows[order], targets[order]
        # A value may become infinite, which is an error where it is used.
        with numpy.errstate(over='ignore'):
            for part, columns, values in self.read(rows):
                if add:
                    array[targets[part], columns] += values.astype('float32')
                else:
                    array[targets[part], columns] = values

    def check_unchanged(self, stat):
        """Checks that a file is the one that has been described.

        Args:
            stat (os.stat_result): Of the file.

        Raises:
            InputError: If it is another one.
        """
        if _identity(stat) != self._identity:
            raise InputError(f'{self.path}: has been replaced meanwhile')


def vectors_at_once(size):
    """Returns how many vectors of a size make a block."""
    return max(1, BLOCK // size)


def _identity(stat):
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def in_parts(rows, n_rows):
    """Yields slices of some rows, and the rows in them, ``n_rows`` at a time."""
    for start in range(0, len(rows), n_rows):
        part = slice(start, min(start + n_rows, len(rows)))
        yield part, rows[part]


def in_ranges(rows, length, n_rows):
    """Finds some rows in a file that can only be read range after range.

    Args:
        rows (array): Which, rising, (n,).
        length (int): Rows that the file has.
        n_rows (int): Rows of a range.

    Yields:
        tuple: First row and end of a range; the slice of ``rows`` that are in it, which may be
        empty, and their numbers in it.
    """
    for start in range(0, length, n_rows):
        stop = min(start + n_rows, length)
        part = slice(*numpy.searchsorted(rows, (start, stop)).tolist())
        yield start, stop, part, rows[part] - start


@contextlib.contextmanager
def errors_of(path, kind):
    """Turns all errors in the block into an InputError that names the file.

    Args:
        path (str): The file.
        kind (str): What it should be, such as ``'a MATLAB file'``.
    """
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or f'not {kind}, or cut short'
        raise InputError(f'{path}: {reason}') from error
    except Exception as error:
        # scipy, zlib, h5py and NumPy raise many kinds of exceptions on damaged files.
        raise InputError(f'{path}: not {kind}, or damaged ({error})') from error


def check_matrix(path, name, shape, type_name, expected):
    """Checks what features are before they are read.

    Args:
        path (str): The file, for the error message.
        name (str): Their name there.
        shape (tuple of int): Their sizes.
        type_name (str): Name of their type.
        expected (str): What the sizes must be, such as ``'N x D, a row per image'``.

    Raises:
        InputError: If they are not a matrix of real numbers, or empty.
    """
    if len(shape) != 2 or 0 in shape:
        actual = ' x '.join(map(str, shape)) or 'not an array'
        raise InputError(f'{path}: {name} is {actual}; expected {expected}')
    if not re.fullmatch(r'float\d+|u?int\d+', type_name):
        raise InputError(f'{path}: {name} contains {type_name}, not real numbers')


def check_features_memory(path, shape):
    """Checks that features fit into memory as float32.

    Raises:
        InputError: If they do not.
    """
    n_bytes = int(shape[0]) * int(shape[1]) * FLOAT32.itemsize
    check_memory(n_bytes, f'must limit {path}, which', 'features_memory')
