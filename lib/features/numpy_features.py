"""Features in ``.npy`` and ``.npz`` files, which other programs write."""

import os
import zipfile
from math import prod

import numpy
from numpy.lib import format as npy

from lib.device import check_memory
from lib.errors import InputError
from lib.features.feature_matrix import (
    FeatureMatrix,
    check_matrix,
    errors_of,
    in_parts,
    in_ranges,
    vectors_at_once,
)
from lib.features.feature_source import ExternalSource

EXPECTED = 'N x D, a row per image'
MATRIX_NAMES = 'features', 'feats'
# The readers of a header, by the version of the format.
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class NpyFeatures(FeatureMatrix):
    """An array (N, D) in a ``.npy`` file, which is mapped into memory.

    Args:
        path (str): The file.

    Raises:
        InputError: If it cannot be read, or is not an array of real numbers.
    """

    def __init__(self, path):
        array = self._map(path)
        super().__init__(
            path,
            array.shape,
            array.dtype,
            ExternalSource.of(path),
            offset=array.offset if array.flags.c_contiguous else None,
        )

    def read(self, rows):
        self.check_unchanged(os.stat(self.path))
        for part, chosen in in_parts(rows, vectors_at_once(self.shape[1])):
            # Mapped anew, since what has been read of a mapping counts as this program's memory.
            yield part, slice(None), self._map(self.path)[chosen]

    @staticmethod
    def _map(path):
        with errors_of(path, 'a NumPy array'):
            array = numpy.load(path, mmap_mode='r', allow_pickle=False)
            check_matrix(path, 'the array', array.shape, array.dtype.name, EXPECTED)
            return array


class NpzFeatures(FeatureMatrix):
    """``features`` (N, D) of a ``.npz`` file, with ``filenames`` or ``ids`` (N,) or without.

    Args:
        path (str): The file.

    Raises:
        InputError: If it cannot be read, or does not contain that.
    """

    def __init__(self, path):
        with errors_of(path, 'a .npz file'), zipfile.ZipFile(path) as file:
            entries = [name.removesuffix('.npy') for name in file.namelist()]
            self._name = next((name for name in MATRIX_NAMES if name in entries), None)
            if self._name is None:
                shown = ', '.join(entries[:10]) or 'nothing'
                raise InputError(f'{path}: has no array "features", only: {shown}')
            with _Entry(file, self._name) as features:
                check_matrix(path, self._name, features.shape, features.dtype.name, EXPECTED)
            names = ids = None
            if 'filenames' in entries:
                names = _texts(path, _read_vector(path, file, 'filenames'))
            if 'ids' in entries:
                ids = _read_vector(path, file, 'ids')
                if ids.dtype.kind not in 'iu':
                    raise InputError(f'{path}: ids are {ids.dtype}, not integers')
                ids = ids.astype('int64')
            source = ExternalSource.of(path)
            super().__init__(path, features.shape, features.dtype, source, names, ids)

    def read(self, rows):
        self.check_unchanged(os.stat(self.path))
        with (
            errors_of(self.path, 'a .npz file'),
            zipfile.ZipFile(self.path) as file,
            _Entry(file, self._name) as features,
        ):
            if features.is_fortran:  # dimension after dimension
                n_images, size = self.shape
                for start, stop, *_ in in_ranges(rows, size, vectors_at_once(n_images)):
                    values = features.read((stop - start, n_images))
                    yield slice(0, len(rows)), slice(start, stop), values[:, rows].T
                return
            for start, stop, part, chosen in in_ranges(
                rows, len(self), vectors_at_once(self.shape[1])
            ):
                values = features.read((stop - start, self.shape[1]))
                yield part, slice(None), values[chosen]


class _Entry:
    """An array in a ``.npz`` file that is read in pieces, compressed or not."""

    def __init__(self, file, name):
        info = file.getinfo(f'{name}.npy')
        self._name, self._stream = name, file.open(info)
        version = npy.read_magic(self._stream)
        if version not in HEADERS:
            raise ValueError(f'{name} has version {version}')
        self.shape, self.is_fortran, self.dtype = HEADERS[version](self._stream)
        if self.dtype.hasobject:
            raise InputError(
                f'{file.filename}: {name} contains Python objects, which are not read; save '
                'numpy.array(...) of strings or numbers'
            )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._stream.close()

    def read(self, shape):
        """Returns the next values in the order of the file, of a shape, row after row."""
        n_bytes = prod(shape) * self.dtype.itemsize
        content = self._stream.read(n_bytes)
        if len(content) != n_bytes:
            raise ValueError(f'{self._name} is cut short')
        return numpy.frombuffer(content, self.dtype).reshape(shape)


def _read_vector(path, file, name):
    with _Entry(file, name) as entry:
        if len(entry.shape) != 1:
            raise InputError(f'{path}: {name} has {len(entry.shape)} dimensions, not 1')
        check_memory(2 * prod(entry.shape) * entry.dtype.itemsize, f'{path}: {name}')
        return entry.read(entry.shape)


def _texts(path, array):
    if array.dtype.kind == 'U':
        return array.tolist()
    if array.dtype.kind == 'S':
        return [text.decode() for text in array.tolist()]
    raise InputError(f'{path}: filenames are {array.dtype}, not strings')
