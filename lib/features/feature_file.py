"""Image features: Karpathy's ``vgg_feats.mat``, and files of other programs."""

import math
from dataclasses import dataclass

import h5py
import numpy
import scipy
from numpy.lib import format as npy

from lib.device import check_memory
from lib.errors import InputError
from lib.features.feature_matrix import BLOCK, FeatureMatrix, errors_of
from lib.features.feature_source import ExternalSource, FeatureSource
from lib.features.hdf5_features import open_hdf5_features
from lib.features.matlab_features import MatlabFeatures
from lib.features.numpy_features import NpyFeatures, NpzFeatures
from lib.files.hdf5 import write_texts
from lib.files.input import check_input
from lib.files.output import open_output

# A variable in a MATLAB 5 file is smaller than 2 GB.
MATLAB_5_LIMIT = 2**31


@dataclass
class Features:
    """The features of a data set's images.

    Attributes:
        array (array or lib.features.stored_features.StoredFeatures): Row ``n`` holds the features
            of ``imgid`` ``n``, (N, D), float32.
        source (FeatureSource or ExternalSource): How they were extracted, None if unknown.
        path (str): The file they were read from, for error messages.
    """

    array: numpy.ndarray
    source: FeatureSource | ExternalSource | None = None
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


def open_features(path: str) -> FeatureMatrix:
    """Reads what is in a file of features but the features themselves.

    Args:
        path (str): The file, in any format of ``docs/features.md``; the content counts, not the
            name.

    Raises:
        InputError: If it cannot be read, or has no (N, D) array of real numbers.
    """
    with errors_of(path, 'a file of features'):
        check_input(path)
        with open(path, 'rb') as file:
            start = file.read(len(npy.MAGIC_PREFIX))
    if start == npy.MAGIC_PREFIX:
        return NpyFeatures(path)
    if start.startswith(b'PK'):
        return NpzFeatures(path)
    return open_hdf5_features(path) if h5py.is_hdf5(path) else MatlabFeatures(path)


def load_features(path: str, allocate=numpy.empty) -> Features:
    """Reads features in the order of the file, whatever images they are of.

    Never holds two copies in memory.

    Args:
        path (str): The file, see :func:`open_features`.
        allocate (callable): Returns a NumPy array of a shape and a type that features are read
            into, but for those in MATLAB 5 files, which are smaller than 2 GB.

    Returns:
        Features: The features, one row per image.

    Raises:
        InputError: If the file cannot be read or has no (N, D) array of real numbers.
    """
    matrix = open_features(path)
    return Features(matrix.load(allocate), matrix.source, str(path))


def save_features(path: str, features: Features, names=None):
    """Writes features as :func:`load_features` reads them.

    Args:
        path (str): File to write: HDF5, as in MATLAB 7.3, if it ends with ``.h5``; otherwise
            MATLAB 5, which Karpathy's tools read.
        features (Features): What to write.
        names (list of str): The file name of each row's image, empty where there is none; None
            leaves them out.

    Raises:
        InputError: If they are too large for the format.
    """
    _check_format(path, features.array.shape)
    source = FeatureSource.to_json(features.source)
    if _is_hdf5_name(path):
        with open_output(path) as output, h5py.File(output, 'w') as file:
            file['feats'] = features.array
            file.attrs['feature_source'] = numpy.bytes_(source)
            if names is not None:
                write_texts(file, 'filenames', names)
    else:
        content = {'feats': features.array.T, 'feature_source': source}
        if names is not None:
            write_texts(content, 'filenames', names)
        with open_output(path) as file:
            scipy.io.savemat(file, content)


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
