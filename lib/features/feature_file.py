"""Image features: Karpathy's ``vgg_feats.mat`` and files like it."""

import contextlib
import math
import re
from dataclasses import dataclass

import h5py
import numpy
import scipy.io

from lib.checked_hdf5 import check_self_contained
from lib.errors import InputError
from lib.features.feature_source import FeatureSource
from lib.files import check_input, open_output
from lib.hdf5 import read_text_attribute, write_hdf5
from lib.memory import check_memory

# Values converted or checked at a time: few enough to need little memory, many enough to make
# Python's overhead negligible.
BLOCK = 1 << 22
MATLAB_FLOATS = {'double': 'float64', 'single': 'float32'}
# A variable in a MATLAB 5 file is smaller than 2 GB.
MATLAB_5_LIMIT = 2**31


@dataclass
class Features:
    """The features of a data set's images.

    Attributes:
        array (array or lib.features.stored_features.StoredFeatures): Row ``n`` holds the features
            of ``imgid`` ``n``, (N, D), float32.
        source (FeatureSource): How they were extracted, None if unknown.
        path (str): The file they were read from, for error messages.
    """

    array: numpy.ndarray
    source: FeatureSource | None = None
    path: str = 'features'

    def check_images(self, imgids):
        """Checks that some images have finite features.

        Args:
            imgids (array): The images, (n,), integers.

        Raises:
            InputError: If features are missing, NaN or infinite.
        """
        n_needed = int(imgids.max()) + 1
        if len(self.array) < n_needed:
            raise InputError(
                f'{self.path}: has features of {len(self.array)} images, but the captions '
                f'refer to imgid {n_needed - 1}; are they of the same data set?'
            )
        is_needed = numpy.zeros(n_needed, bool)
        is_needed[imgids] = True
        n_rows = max(1, BLOCK // self.array.shape[1])
        for start in range(0, n_needed, n_rows):
            rows = slice(start, min(start + n_rows, n_needed))
            is_bad = is_needed[rows] & ~numpy.isfinite(self.array[rows]).all(axis=1)
            if is_bad.any():
                raise InputError(
                    f'{self.path}: the features of imgid {start + int(is_bad.argmax())} '
                    'contain NaN or infinite values; extract_features.py leaves NaN for images '
                    'that it cannot read'
                )

    def mean_and_inverse_std(self, imgids):
        """Computes what standardizes the features of some images.

        Args:
            imgids (array): The images, (n,), integers.

        Returns:
            tuple of arrays: Mean and inverse standard deviation of each dimension, (D,),
            float32. The latter is 0 where the dimension is constant.
        """
        blocks = numpy.array_split(imgids, 1 + imgids.size * self.array.shape[1] // BLOCK)
        total, squares = numpy.zeros((2, self.array.shape[1]))
        for rows in blocks:
            total += self.array[rows].sum(axis=0, dtype='float64')
        mean = total / len(imgids)
        for rows in blocks:
            squares += ((self.array[rows] - mean) ** 2).sum(axis=0)
        std = numpy.sqrt(squares / len(imgids))
        varies = std > 1e-6 * std.max()
        inverse_std = numpy.divide(1, std, out=numpy.zeros_like(std), where=varies)
        return mean.astype('float32'), inverse_std.astype('float32')


def load_features(path: str, allocate=numpy.empty) -> Features:
    """Reads ``feats`` of a MATLAB 5 or 7.3 file: D x N, column ``n`` for ``imgid`` ``n``.

    Never holds two copies in memory.

    Args:
        path (str): The file, usually ``.mat`` or ``.h5``.
        allocate (callable): Returns a NumPy array of a shape and a type that an HDF5 file, which
            may be of any size, is read into.

    Returns:
        Features: The features, one row per image.

    Raises:
        InputError: If the file cannot be read or ``feats`` is not a D x N array of real
            numbers.
    """
    with _errors_of(path):
        check_input(path)
        is_hdf5 = h5py.is_hdf5(path)
        array, source = _read_matlab_73(path, allocate) if is_hdf5 else _read_matlab_5(path)
    return Features(array, source, str(path))


def save_features(path: str, features: Features):
    """Writes features as :func:`load_features` reads them.

    Args:
        path (str): File to write: HDF5, as in MATLAB 7.3, if it ends with ``.h5``; otherwise
            MATLAB 5, which Karpathy's tools read.
        features (Features): What to write.

    Raises:
        InputError: If they are too large for the format.
    """
    _check_format(path, features.array.shape)
    source = FeatureSource.to_json(features.source)
    if _is_hdf5_name(path):
        with write_hdf5(path) as file:
            file['feats'] = features.array
            file.attrs['feature_source'] = numpy.bytes_(source)
    else:
        with open_output(path) as file:
            scipy.io.savemat(file, {'feats': features.array.T, 'feature_source': source})


@contextlib.contextmanager
def open_hdf5_features(path):
    """Yields ``feats`` of a MATLAB 7.3 file, checked, and how the features were extracted.

    Args:
        path (str): The file.

    Returns:
        context manager: Gives a pair of an :class:`h5py.Dataset`, (N, D), of integers or floats;
        and a :class:`FeatureSource` or None.

    Raises:
        InputError: If the file cannot be read or is of another kind.
    """
    with _errors_of(path):
        check_input(path)
        if not h5py.is_hdf5(path):
            raise InputError(
                f'{path}: not an HDF5 file; only features in HDF5 can be in several files, or '
                'partly stay on the disk'
            )
        with h5py.File(path) as file:
            # Only these: MATLAB's own files may contain references. "in" would follow a link.
            check_self_contained(path, file, [name for name in file if name == 'feats'])
            if not isinstance(file.get('feats'), h5py.Dataset):
                raise _missing_feats(path, file)
            feats = file['feats']
            _check_feats(path, feats.shape or (), feats.dtype.name)
            source = read_text_attribute(file, 'feature_source', 'null')
            yield feats, FeatureSource.from_json(source)


@contextlib.contextmanager
def _errors_of(path):
    """Turns all errors in the block into an InputError that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or 'not a MATLAB file, or cut short'
        raise InputError(f'{path}: {reason}') from error
    except InputError:
        raise
    except Exception as error:
        # scipy and zlib raise many kinds of exceptions on damaged files.
        raise InputError(f'{path}: not a MATLAB file, or damaged ({error})') from error


def check_fits(path, shape):
    """Checks that float32 features of a shape can be held in memory and saved.

    Raises:
        InputError: If they cannot.
    """
    _check_format(path, shape)
    n_copies = 1 if _is_hdf5_name(path) else 2  # scipy makes one
    check_memory(n_copies * _size(shape), f'{path}: features of {shape[0]:,} images')


def _check_format(path, shape):
    size = _size(shape)
    if size >= MATLAB_5_LIMIT and not _is_hdf5_name(path):
        raise InputError(
            f'{path}: {size / 2**30:.1f} GiB of features exceed the 2 GiB of a MATLAB 5 '
            'file; choose a name that ends with .h5'
        )


def _size(shape):
    return math.prod(shape) * numpy.dtype('float32').itemsize


def _is_hdf5_name(path):
    return str(path).lower().endswith(('.h5', '.hdf5'))


def _read_matlab_5(path):
    contained = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
    if 'feats' not in contained:
        raise _missing_feats(path, contained)
    # Before anything is read, since it may be compressed.
    shape, kind = contained['feats']
    type_name = MATLAB_FLOATS.get(kind, kind)
    _check_feats(path, shape, type_name)
    check_memory(max(_size(shape), math.prod(shape) * numpy.dtype(type_name).itemsize), path)
    names = [name for name in ('feats', 'feature_source') if name in contained]
    if contained.get('feature_source', ((1,), 'char')) != ((1,), 'char'):
        raise ValueError('feature_source is not a text')
    variables = scipy.io.loadmat(path, variable_names=names)
    feats, source = variables.pop('feats'), None
    _check_feats(path, feats.shape, feats.dtype.name)  # only now complex numbers are seen
    if 'feature_source' in variables:
        source = FeatureSource.from_json(variables['feature_source'].item())
    # MATLAB stores column after column, so the transpose needs no copy.
    return _convert_to_float32(numpy.ascontiguousarray(feats.T)), source


def _read_matlab_73(path, allocate):
    with open_hdf5_features(path) as (feats, source):
        check_memory(_size(feats.shape), f'must limit {path}, which', 'features_memory')
        array = allocate(feats.shape, 'float32')
        with numpy.errstate(over='ignore'):  # becomes infinite, which is an error where it is used
            feats.read_direct(array)
        return array, source


def _missing_feats(path, names):
    names = [*names]
    shown = ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')
    return InputError(f'{path}: has no variable "feats", only: {shown or "nothing"}')


def _check_feats(path, shape, type_name):
    if len(shape) != 2 or 0 in shape:
        actual = ' x '.join(map(str, shape)) or 'not an array'
        raise InputError(f'{path}: feats is {actual}; expected D x N, a column per image')
    if not re.fullmatch(r'float\d+|u?int\d+', type_name):
        raise InputError(f'{path}: feats contains {type_name}, not real numbers')


def _convert_to_float32(array):
    """Converts a C-contiguous array, in its own memory if its values are wider."""
    if array.dtype.itemsize < 4:
        return array.astype('float32')
    flat = array.reshape(-1)
    converted = flat.view('float32')[: flat.size]
    if array.dtype != 'float32':
        # Value n is written at or before the place it is read from, so none is overwritten
        # before it is read.
        for start in range(0, flat.size, BLOCK):
            with numpy.errstate(over='ignore'):  # becomes infinite, as in _read_matlab_73
                block = flat[start : start + BLOCK].astype('float32')
            converted[start : start + BLOCK] = block
    return converted.reshape(array.shape)
