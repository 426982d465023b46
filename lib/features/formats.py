"""Readers of files of image features, in all formats.

To read another format, add a function that returns a :class:`FeatureFile`, and the first bytes of
such files to :data:`READERS`.
"""

import itertools
import math
import re
from typing import NamedTuple

import h5py
import numpy
import scipy
from numpy.lib.format import MAGIC_PREFIX

from lib.device import check_memory
from lib.errors import InputError
from lib.features.feature_source import ExternalSource, FeatureSource
from lib.files.hdf5 import check_self_contained, read_texts
from lib.files.input import check_input

# Values read at a time: few enough to need little memory, many enough to make Python's
# overhead negligible.
BLOCK = 1 << 22
# MATLAB's names of types that NumPy calls otherwise.
MATLAB_FLOATS = {'double': 'float64', 'single': 'float32'}
# The names of images, as lib.files.hdf5.write_texts writes them, and their types in MATLAB.
MATLAB_NAMES = {'filenames': 'uint8', 'filenames_offsets': 'int64'}
# What else is read of an HDF5 file.
KEYS = 'filenames', 'filenames_offsets', 'ids'


class FeatureFile(NamedTuple):
    """What is in a file of features.

    Attributes:
        rows (array): A row for each image, (N, D), NumPy: any real numbers of a mapped file, a
            :class:`numpy.memmap`; otherwise float32.
        names (list of str): The file name of each row's image, empty where there is none; None if
            the file does not say.
        ids (array): The number of each row's image, (N,), integers; None if the file does not say.
        source (FeatureSource or ExternalSource): How the features were extracted, None if unknown.
        path (str): The file.
    """

    rows: numpy.ndarray
    names: list[str] | None = None
    ids: numpy.ndarray | None = None
    source: FeatureSource | ExternalSource | None = None
    path: str = 'features'


def read_features(path: str) -> FeatureFile:
    """Reads a file of features in any format; the content counts, not the name.

    Args:
        path (str): The file, in a format of ``docs/features.md``.

    Raises:
        InputError: If it cannot be read, or contains no (N, D) array of real numbers.
    """
    try:
        check_input(path)
        with open(path, 'rb') as opened:
            start = opened.read(16)
        readers = [read for first_bytes, read in READERS.items() if start.startswith(first_bytes)]
        if not readers:
            raise InputError(f'{path}: not a file of features in .npy, .npz, HDF5 or MATLAB 5')
        file = readers[0](path)
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or f'cut short, or damaged ({error})'
        raise InputError(f'{path}: {reason}') from error
    except Exception as error:
        # scipy, zlib, h5py and NumPy raise many kinds of exceptions on damaged files.
        raise InputError(f'{path}: not a file of features, or damaged ({error})') from error
    for what, keys in (('filenames', file.names), ('ids', file.ids)):
        if keys is not None and len(keys) != len(file.rows):
            raise InputError(
                f'{path}: has {len(keys)} {what}, but features of {len(file.rows)} images'
            )
    if file.names is not None and file.ids is not None:
        raise InputError(f'{path}: has both filenames and ids; one of them must go')
    return file._replace(path=str(path))


def read_npy(path):
    """Maps an array (N, D) in a ``.npy`` file."""
    array = numpy.load(path, mmap_mode='r', allow_pickle=False)
    check_matrix(path, 'the array', array.shape, array.dtype.name)
    if not array.flags.c_contiguous:
        array = _read_blocks(path, array)
    return FeatureFile(array, source=ExternalSource.of(path))


def read_npz(path):
    """Reads ``features`` or ``feats`` (N, D), with ``filenames`` or ``ids`` (N,) or without."""
    with numpy.load(path, allow_pickle=False) as file:
        name = next((name for name in ('features', 'feats') if name in file), None)
        if name is None:
            raise _missing(path, 'array "features"', file)
        _check_memory(path, file.zip.getinfo(f'{name}.npy').file_size)
        features = _read_array(path, file, name)
        check_matrix(path, name, features.shape, features.dtype.name)
        names = ids = None
        if 'filenames' in file:
            names = _texts(path, _read_array(path, file, 'filenames'))
        if 'ids' in file:
            ids = _read_array(path, file, 'ids')
            _check_ids(path, ids)
    rows = _to_float32(path, features)
    return FeatureFile(rows, names, ids, ExternalSource.of(path))


def _read_array(path, file, name):
    try:
        return file[name]
    except ValueError as error:
        raise InputError(
            f'{path}: {name} cannot be read ({error}); save numpy.array(...) of strings or numbers'
        ) from error


def _texts(path, array):
    if array.ndim != 1 or array.dtype.kind not in 'SU':
        raise InputError(f'{path}: filenames is not an array (N,) of strings')
    return [text if isinstance(text, str) else text.decode() for text in array.tolist()]


def read_hdf5(path):
    """Maps or reads ``feats`` or ``features`` (N, D) of an HDF5 file, or vectors of single images.

    MATLAB calls ``feats`` D x N. There may be ``filenames`` or ``ids`` (N,).
    """
    with h5py.File(path) as file:
        name = next((name for name in file if name in ('feats', 'features')), None)
        if name is None:
            return _read_keyed_hdf5(path, file)
        check_self_contained(path, file, [name])
        matrix = file[name]
        if not isinstance(matrix, h5py.Dataset):
            raise _missing(path, 'variable "feats"', file)
        check_matrix(path, name, matrix.shape or (), matrix.dtype.name)
        names = ids = None
        # Before MATLAB's other variables, which may contain references, there is a user block.
        if not file.userblock_size:
            check_self_contained(path, file, [key for key in file if key in KEYS])
            names = _read_hdf5_names(path, file) if 'filenames' in file else None
            if 'ids' in file:
                ids = file['ids'][()]
                _check_ids(path, ids)
        source = ExternalSource.of(path)
        if name == 'feats':
            source = FeatureSource.from_json(file.attrs.get('feature_source', b'null').decode())
        offset = matrix.id.get_offset()  # None unless the values are stored in one piece
        # h5py converts the values of types that NumPy lacks.
        if offset is not None and matrix.id.get_type() == h5py.h5t.py_create(matrix.dtype):
            rows = numpy.memmap(path, matrix.dtype, 'r', offset, matrix.shape)
        else:
            rows = _read_blocks(path, matrix, n_rows_together=(matrix.chunks or [1])[0])
        return FeatureFile(rows, names, ids, source)


def _read_hdf5_names(path, file):
    """Returns ``filenames``, in whatever way HDF5 can store strings."""
    if 'filenames_offsets' in file:
        return read_texts(file, 'filenames')
    names = file['filenames']
    if len(names.shape or ()) != 1 or h5py.check_string_dtype(names.dtype) is None:
        raise InputError(f'{path}: filenames is not an array (N,) of strings')
    return names.asstr()[()].tolist()


def _read_keyed_hdf5(path, file):
    """Reads a vector (D,) or (1, D) for each image, named as its file or by its number."""
    check_self_contained(path, file)
    shapes = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            shapes[name] = item.shape or ()

    file.visititems(add)
    first, shape = next(iter(shapes.items()), ('', ()))
    if not _is_vector(shape):
        raise _missing(path, 'variable "feats"', file)
    for name, other in shapes.items():
        if not _is_vector(other) or other[-1] != shape[-1]:
            actual = ' x '.join(map(str, other)) or 'not an array'
            raise InputError(f'{path}: "{name}" is {actual}, but "{first}" a vector of {shape[-1]}')
        check_matrix(path, f'"{name}"', (1, other[-1]), file[name].dtype.name)
    rows = _allocate(path, (len(shapes), shape[-1]))
    with numpy.errstate(over='ignore'):
        for row, name in zip(rows, shapes):
            row[...] = file[name][()].reshape(-1)
    return FeatureFile(rows, [*shapes], source=ExternalSource.of(path))


def _is_vector(shape):
    return len(shape) == 1 or (len(shape) == 2 and shape[0] == 1)


def read_matlab(path):
    """Reads ``feats`` (D x N) of a MATLAB 5 file, such as Karpathy's ``vgg_feats.mat``."""
    contained = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
    if 'feats' not in contained:
        raise _missing(path, 'variable "feats"', contained)
    # Before anything is read, since it may be compressed.
    shape, type_name = contained['feats']
    type_name = MATLAB_FLOATS.get(type_name, type_name)
    check_matrix(path, 'feats', shape, type_name)
    _check_memory(path, math.prod(shape) * numpy.dtype(type_name).itemsize)
    # Other variables of these names are somebody else's.
    type_of = {name: kind for name, (_, kind) in contained.items()}
    has_names = all(type_of.get(name) == kind for name, kind in MATLAB_NAMES.items())
    wanted = ['feats', 'feature_source', *(MATLAB_NAMES if has_names else ())]
    variables = scipy.io.loadmat(path, variable_names=wanted)
    feats = variables.pop('feats')
    check_matrix(path, 'feats', feats.shape, feats.dtype.name)  # only now complex numbers are seen
    rows = _to_float32(path, feats.T)  # MATLAB stores column after column
    names = source = None
    if has_names:
        names = read_texts({name: variables[name].ravel() for name in MATLAB_NAMES}, 'filenames')
    if 'feature_source' in variables:
        source = FeatureSource.from_json(variables['feature_source'].item())
    return FeatureFile(rows, names, source=source)


# The readers of the formats, by the first bytes of their files.
READERS = {
    MAGIC_PREFIX: read_npy,
    b'PK': read_npz,
    b'\x89HDF': read_hdf5,
    b'MATLAB 7.3': read_hdf5,
    b'MATLAB 5': read_matlab,
}


def check_matrix(path, name, shape, type_name):
    """Checks what features are before they are read.

    Args:
        path (str): The file, for the error message.
        name (str): Their name there.
        shape (tuple of int): Their sizes.
        type_name (str): Name of their type.

    Raises:
        InputError: If they are not a matrix of real numbers, or empty.
    """
    if len(shape) != 2 or 0 in shape:
        actual = ' x '.join(map(str, shape)) or 'not an array'
        raise InputError(f'{path}: {name} is {actual}; expected N x D, in MATLAB D x N')
    if not re.fullmatch(r'float\d+|u?int\d+', type_name):
        raise InputError(f'{path}: {name} contains {type_name}, not real numbers')


def _check_ids(path, ids):
    if numpy.ndim(ids) != 1 or ids.dtype.kind not in 'iu':
        raise InputError(f'{path}: ids is not an array (N,) of integers')


def _missing(path, what, names):
    """Returns the error of a file without features, which names what it contains instead."""
    names = [*itertools.islice(names, 11)]
    shown = ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')
    return InputError(f'{path}: has no {what}, only: {shown or "nothing"}')


def _allocate(path, shape):
    """Returns an array of a shape, float32, that a file is read into."""
    _check_memory(path, 4 * math.prod(shape))
    return numpy.empty(shape, 'float32')


def _check_memory(path, n_bytes):
    check_memory(n_bytes, f'{path}, which is not mapped like .npy,')


def _read_blocks(path, matrix, n_rows_together=1):
    """Returns a matrix (N, D) in a file as float32 in memory, row after row.

    It is read in blocks of rows, some of which should stay together.
    """
    rows = _allocate(path, matrix.shape)
    n_rows = max(1, BLOCK // matrix.shape[1])
    n_rows = -(-n_rows // n_rows_together) * n_rows_together
    with numpy.errstate(over='ignore'):  # becomes infinite, an error where it is used
        for start in range(0, len(rows), n_rows):
            rows[start : start + n_rows] = matrix[start : start + n_rows]
    return rows


def _to_float32(path, array):
    """Returns an array (N, D) in memory as float32, row after row."""
    if array.dtype != 'float32':
        _check_memory(path, 4 * array.size)
    with numpy.errstate(over='ignore'):
        return numpy.ascontiguousarray(array, 'float32')
