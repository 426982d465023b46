"""Features in HDF5 files: one matrix, or a vector for each image."""

import contextlib
import os

import h5py
import numpy

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
from lib.features.feature_source import ExternalSource, FeatureSource
from lib.features.matlab_features import missing_feats
from lib.files.hdf5 import check_self_contained, read_texts

# The matrix: of this program and MATLAB, or of others.
EXPECTED = {'feats': 'D x N, a column per image', 'features': 'N x D, a row per image'}
KEYS = 'filenames', 'filenames_offsets', 'ids'


def open_hdf5_features(path):
    """Returns the :class:`FeatureMatrix` of an HDF5 file.

    Raises:
        InputError: If the file cannot be read, or has no features.
    """
    with _open(path) as file:
        name = next((name for name in file if name in EXPECTED), None)  # "in" follows a link
        return KeyedFeatures(path, file) if name is None else MatrixFeatures(path, file, name)


class MatrixFeatures(FeatureMatrix):
    """``feats`` or ``features`` of an HDF5 file: (N, D), in MATLAB's terms D x N.

    Args:
        path (str): The file.
        file (h5py.File): The same, open.
        name (str): Name of the matrix.
    """

    def __init__(self, path, file, name):
        self._name = name
        feats, keys = self._dataset(path, file), [key for key in file if key in KEYS]
        names = ids = None
        # Before other variables of MATLAB, which may contain references, there is a user block.
        if not file.userblock_size:
            check_self_contained(path, file, keys)
            names = _read_names(path, file) if 'filenames' in keys else None
            ids = _read_ids(path, file) if 'ids' in keys else None
        source = ExternalSource.of(path)
        if name == 'feats':
            text = file.attrs.get('feature_source', b'null').decode()
            source = FeatureSource.from_json(text)
        offset = feats.id.get_offset()  # None if it is stored in chunks, in a header, or not at all
        if feats.id.get_type() != h5py.h5t.py_create(feats.dtype):
            offset = None  # h5py converts what NumPy has no type for
        super().__init__(path, feats.shape, feats.dtype, source, names, ids, offset)

    def read(self, rows):
        self.check_unchanged(os.stat(self.path))
        with _open(self.path) as file:
            feats = self._dataset(self.path, file)
            n_rows = vectors_at_once(self.shape[1])
            if feats.chunks:  # each of which is read once
                n_rows = -(-n_rows // feats.chunks[0]) * feats.chunks[0]
            for start, stop, part, chosen in in_ranges(rows, len(self), n_rows):
                if len(chosen):
                    yield part, slice(None), feats[start:stop][chosen]

    def _dataset(self, path, file):
        check_self_contained(path, file, [self._name])
        feats = file[self._name]
        if not isinstance(feats, h5py.Dataset):
            raise missing_feats(path, file)
        check_matrix(path, self._name, feats.shape or (), feats.dtype.name, EXPECTED[self._name])
        return feats


class KeyedFeatures(FeatureMatrix):
    """A vector for each image, (D,) or (1, D), named as its file or by its number.

    Args:
        path (str): The file.
        file (h5py.File): The same, open.
    """

    def __init__(self, path, file):
        check_self_contained(path, file)
        datasets = {}

        def add(name, item):
            if isinstance(item, h5py.Dataset):
                datasets[name] = item.shape or (), item.dtype

        file.visititems(add)
        if not datasets:
            raise missing_feats(path, file)
        (first, (shape, dtype)), *_ = datasets.items()
        if not _is_vector(shape):
            raise missing_feats(path, file)
        for name, (other, other_type) in datasets.items():
            if not _is_vector(other) or other[-1] != shape[-1]:
                actual = ' x '.join(map(str, other)) or 'not an array'
                raise InputError(
                    f'{path}: "{name}" is {actual}, but "{first}" a vector of {shape[-1]}'
                )
            check_matrix(path, f'"{name}"', (1, other[-1]), other_type.name, '1 x D')
        shape, names = (len(datasets), shape[-1]), [*datasets]
        source = ExternalSource.of(path)
        super().__init__(path, shape, dtype, source, names)

    def read(self, rows):
        self.check_unchanged(os.stat(self.path))
        with _open(self.path) as file:
            for part, chosen in in_parts(rows, vectors_at_once(self.shape[1])):
                values = numpy.empty((len(chosen), self.shape[1]), 'float32')
                for value, row in zip(values, chosen):
                    value[...] = file[self.names[row]][()].reshape(-1)
                yield part, slice(None), values


def _is_vector(shape):
    return len(shape) == 1 or (len(shape) == 2 and shape[0] == 1)


@contextlib.contextmanager
def _open(path):
    with errors_of(path, 'an HDF5 file of features'), h5py.File(path) as file:
        yield file


def _read_names(path, file):
    """Returns ``filenames``, in whatever way HDF5 can store strings."""
    if 'filenames_offsets' in file:
        return read_texts(file, 'filenames')
    item = file['filenames']
    strings = h5py.check_string_dtype(item.dtype) if isinstance(item, h5py.Dataset) else None
    if strings is None or len(item.shape or ()) != 1:
        raise InputError(f'{path}: filenames is not an array of strings')
    check_memory(2 * item.nbytes, f'{path}: filenames')
    return item.asstr()[()].tolist()


def _read_ids(path, file):
    item = file['ids']
    if not isinstance(item, h5py.Dataset) or len(item.shape or ()) != 1:
        raise InputError(f'{path}: ids is not an array of integers')
    if item.dtype.kind not in 'iu':
        raise InputError(f'{path}: ids are {item.dtype}, not integers')
    check_memory(2 * item.nbytes, f'{path}: ids')
    return item[()].astype('int64')
