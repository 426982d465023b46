"""Readers of files of image features, in all formats.

To read another format, add a function that returns a :class:`FeatureFile`, and the first bytes of
such files to :data:`READERS`.
"""

import math
import os
from typing import NamedTuple

import h5py
import numpy
import scipy
from numpy.lib.format import MAGIC_PREFIX

from lib.errors import InputError
from lib.features.arrays import (
    FEATURES,
    allocate,
    check_fits,
    check_matrix,
    find_keys,
    find_matrix,
    is_matrix,
    missing,
)
from lib.features.feature_source import ExternalSource, FeatureSource
from lib.features.vectors import read_vectors_in_folder, read_vectors_in_hdf5
from lib.files.hdf5 import check_self_contained, read_texts
from lib.files.input import check_input

# Values read at a time: few enough to need little memory, many enough to make Python's
# overhead negligible.
BLOCK = 1 << 22
# MATLAB's names of types that NumPy calls otherwise.
MATLAB_FLOATS = {'double': 'float64', 'single': 'float32'}
# The names of images as our own files have them, see lib.files.hdf5.write_texts.
NAMES = 'filenames'
OFFSETS = 'filenames_offsets'


class FeatureFile(NamedTuple):
    """What is in a file of features.

    Attributes:
        rows (array): A row for each image, (N, D), NumPy: any real numbers of a mapped file, a
            :class:`numpy.memmap`; otherwise float32.
        keys (dict): What may name the image of each row: from names of arrays to lists of N
            strings, empty where a row is of no image, or of N distinct integers.
        source (FeatureSource or ExternalSource): How the features were extracted, None if unknown.
        path (str): The file.
    """

    rows: numpy.ndarray
    keys: dict[str, list] = {}  # noqa: RUF012  not changed
    source: FeatureSource | ExternalSource | None = None
    path: str = 'features'


def read_features(path: str) -> FeatureFile:
    """Reads a file of features in any format; the content counts, not the name.

    Args:
        path (str): The file, or folder, in a format of ``docs/features.md``.

    Raises:
        InputError: If it cannot be read, or contains no (N, D) array of real numbers.
    """
    try:
        file = _find_reader(path)(path)
    except InputError:
        raise
    except BlockingIOError as error:
        raise InputError(f'{path}: another program, perhaps a notebook, has it open') from error
    except OSError as error:
        reason = error.strerror or f'cut short, or damaged ({error})'
        raise InputError(f'{path}: {reason}') from error
    except Exception as error:
        # scipy, zlib, h5py and NumPy raise many kinds of exceptions on damaged files.
        raise InputError(f'{path}: not a file of features, or damaged ({error})') from error
    for name, keys in file.keys.items():
        if len(keys) != len(file.rows):
            raise InputError(
                f'{path}: has {len(keys)} {name}, but features of {len(file.rows)} images'
            )
    return file._replace(path=str(path))


def _find_reader(path):
    if os.path.isdir(path):
        return _read_folder
    check_input(path)
    with open(path, 'rb') as file:
        start = file.read(16)
    readers = [read for first_bytes, read in READERS.items() if start.startswith(first_bytes)]
    if readers:
        return readers[0]
    message = f'{path}: not a file of features in .npy, .npz, HDF5 or MATLAB 5'
    if os.fspath(path).lower().endswith(('.csv', '.tsv', '.txt')):
        message += (
            '; if it is a table of numbers, numpy.save("features.npy", numpy.loadtxt('
            f'"{path}", delimiter=",")) makes one'
        )
    raise InputError(message)


def _read_folder(path):
    return FeatureFile(*read_vectors_in_folder(path), ExternalSource.of(path))


def read_npy(path):
    """Maps an array (N, D) in a ``.npy`` file."""
    array = numpy.load(path, mmap_mode='r', allow_pickle=False)
    check_matrix(path, 'the array', array.shape, array.dtype.name)
    if not array.flags.c_contiguous:
        array = _read_blocks(path, array)
    return FeatureFile(array, source=ExternalSource.of(path))


def read_npz(path):
    """Reads a matrix (N, D), and other arrays of N entries, which may name the images."""
    with numpy.load(path, allow_pickle=False) as file:
        shapes = {name: _shape_in_npz(file, name) for name in file}
        name = find_matrix(path, shapes)
        check_fits(path, file.zip.getinfo(f'{name}.npy').file_size)
        features = _read_array(path, file, name)
        check_matrix(path, name, features.shape, features.dtype.name)
        del shapes[name]
        keys = find_keys(path, len(features), shapes, lambda key: _read_array(path, file, key))
    rows = _to_float32(path, features)
    return FeatureFile(rows, keys, ExternalSource.of(path))


def _shape_in_npz(file, name):
    with file.zip.open(f'{name}.npy') as array:
        version = numpy.lib.format.read_magic(array)
        is_first = version == (1, 0)
        read_header = (
            numpy.lib.format.read_array_header_1_0
            if is_first
            else numpy.lib.format.read_array_header_2_0
        )
        return read_header(array)[0]


def _read_array(path, file, name):
    try:
        return file[name]
    except ValueError as error:
        raise InputError(
            f'{path}: {name} cannot be read ({error}); save numpy.array(...) of strings or numbers'
        ) from error


def read_hdf5(path):
    """Maps or reads a matrix (N, D) of an HDF5 file, or vectors of single images.

    MATLAB calls the matrix D x N. Arrays of N entries may name the images.
    """
    with h5py.File(path) as file:
        # Before MATLAB's variables there is a user block; its groups contain references.
        names = [name for name in file if not file.userblock_size or not _is_group(file, name)]
        cells = [name for name in names if file.userblock_size and _has_references(file, name)]
        names = [name for name in names if name not in cells]
        check_self_contained(path, file, names)
        shapes = {
            name: file[name].shape or () for name in names if isinstance(file[name], h5py.Dataset)
        }
        if not any(name in FEATURES or is_matrix(shape) for name, shape in shapes.items()):
            return FeatureFile(*read_vectors_in_hdf5(path, file), ExternalSource.of(path))
        name = find_matrix(path, shapes)
        matrix = file[name]
        check_matrix(path, name, matrix.shape or (), matrix.dtype.name)
        del shapes[name]
        for cell in cells:
            if file[cell].size == len(matrix):
                raise InputError(
                    f'{path}: {cell} is a cell array, which is not read of MATLAB 7.3; save the '
                    'names of images as cellstr in MATLAB 5 (-v7), or image_ids as numbers'
                )
        if OFFSETS in file:
            keys = {NAMES: read_texts(file, NAMES)}
        else:
            keys = find_keys(path, len(matrix), shapes, lambda key: _read_hdf5_array(file[key]))
        source = ExternalSource.of(path)
        if name == 'feats':
            source = FeatureSource.from_json(file.attrs.get('feature_source', b'null').decode())
        offset = matrix.id.get_offset()  # None unless the values are stored in one piece
        # h5py converts the values of types that NumPy lacks.
        if offset is not None and matrix.id.get_type() == h5py.h5t.py_create(matrix.dtype):
            rows = numpy.memmap(path, matrix.dtype, 'r', offset, matrix.shape)
        else:
            rows = _read_blocks(path, matrix, n_rows_together=(matrix.chunks or [1])[0])
        return FeatureFile(rows, keys, source)


def _is_group(file, name):
    return file.get(name, getclass=True) is h5py.Group


def _has_references(file, name):
    is_here = isinstance(file.get(name, getlink=True), h5py.HardLink)
    return is_here and bool(h5py.check_ref_dtype(file[name].dtype))


def _read_hdf5_array(array):
    is_text = h5py.check_string_dtype(array.dtype) is not None
    return array.asstr()[()] if is_text else array[()]


def read_matlab(path):
    """Reads ``feats`` (D x N) of a MATLAB 5 file, such as Karpathy's ``vgg_feats.mat``."""
    contained = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
    shapes = {name: shape for name, (shape, _) in contained.items()}
    if 'feats' not in contained:
        raise missing(path, 'variable "feats"', contained)
    # Before anything is read, since it may be compressed.
    shape, type_name = contained['feats']
    type_name = MATLAB_FLOATS.get(type_name, type_name)
    check_matrix(path, 'feats', shape, type_name)
    check_fits(path, math.prod(shape) * numpy.dtype(type_name).itemsize)

    def read(name):
        return scipy.io.loadmat(path, variable_names=[name])[name]

    feats = read('feats')
    check_matrix(path, 'feats', feats.shape, feats.dtype.name)  # only now complex numbers are seen
    rows = _to_float32(path, feats.T)  # MATLAB stores column after column
    if OFFSETS in contained:
        keys = {NAMES: read_texts({name: read(name).ravel() for name in (NAMES, OFFSETS)}, NAMES)}
    else:
        del shapes['feats']
        keys = find_keys(path, len(rows), shapes, read)
    source = None
    if 'feature_source' in contained:
        source = FeatureSource.from_json(read('feature_source').item())
    return FeatureFile(rows, keys, source)


# The readers of the formats, by the first bytes of their files.
READERS = {
    MAGIC_PREFIX: read_npy,
    b'PK': read_npz,
    b'\x89HDF': read_hdf5,
    b'MATLAB 7.3': read_hdf5,
    b'MATLAB 5': read_matlab,
}


def _read_blocks(path, matrix, n_rows_together=1):
    """Returns a matrix (N, D) in a file as float32 in memory, row after row.

    It is read in blocks of rows, some of which should stay together.
    """
    rows = allocate(path, matrix.shape)
    n_rows = max(1, BLOCK // matrix.shape[1])
    n_rows = -(-n_rows // n_rows_together) * n_rows_together
    with numpy.errstate(over='ignore'):  # becomes infinite, an error where it is used
        for start in range(0, len(rows), n_rows):
            rows[start : start + n_rows] = matrix[start : start + n_rows]
    return rows


def _to_float32(path, array):
    """Returns an array (N, D) in memory as float32, row after row."""
    if array.dtype != 'float32':
        check_fits(path, 4 * array.size)
    with numpy.errstate(over='ignore'):
        return numpy.ascontiguousarray(array, 'float32')
