"""The writer of ``extract_features.py``'s files, which :mod:`lib.features.formats` reads."""

import math
import os

import h5py
import numpy
import scipy

from lib.device import check_memory
from lib.errors import InputError
from lib.features.feature_source import FeatureSource
from lib.files.hdf5 import write_texts
from lib.files.output import errors_naming, open_output

# A variable in a MATLAB 5 file is smaller than 2 GB.
MATLAB_5_LIMIT = 2**31
HDF5_SUFFIXES = '.h5', '.hdf5'
# What HDF5 adds to features and names, at most.
HDF5_OVERHEAD = 1 << 16


def save_features(path: str, rows, source: FeatureSource | None = None, names=None):
    """Writes features as :func:`lib.features.formats.read_features` reads them.

    Args:
        path (str): File to write: HDF5 (``.h5``), which is mapped when it is read; MATLAB 5
            (``.mat``), which Karpathy's tools read; or ``.npy``, which holds the rows alone.
        rows (array): The features, (N, D), float32.
        source (FeatureSource): How they were extracted, None if unknown.
        names (list): The file name or id of each row's image, an empty string where there is none;
            None leaves them out.

    Raises:
        InputError: If they are too large for the format, or the suffix is another one.
        OSError: If the file cannot be written.
    """
    check_suffix(path)
    _check_size(path, rows.shape)
    keys = {}
    if names is not None:
        write_texts(keys, 'filenames', map(str, names))
    source = FeatureSource.to_json(source)
    suffix = _suffix(path)
    with open_output(path) as output:
        if suffix in HDF5_SUFFIXES:
            _write_hdf5(path, output, rows, source, keys)
        elif suffix == '.npy':
            numpy.save(output, rows)
        else:
            scipy.io.savemat(output, {'feats': rows.T, 'feature_source': source, **keys})


def _write_hdf5(path, output, rows, source, keys):
    # h5py does not survive a full disk, so check that there is room, and release it again.
    n_bytes = rows.nbytes + sum(array.nbytes for array in keys.values()) + HDF5_OVERHEAD
    with errors_naming(path):
        if hasattr(os, 'posix_fallocate'):  # macOS lacks it
            os.posix_fallocate(output.fileno(), 0, n_bytes)
        output.truncate(0)
    # By its name: with a Python file, HDF5 calls Python code, in which a signal would be an error.
    with h5py.File(output.name, 'w') as file:
        file['feats'] = numpy.asarray(rows, '<f4')
        for name, array in keys.items():
            file[name] = array
        file.attrs['feature_source'] = numpy.bytes_(source)


def check_fits(path, shape):
    """Checks that float32 features of a shape can be held in memory and saved.

    Raises:
        InputError: If they cannot.
    """
    _check_size(path, shape)
    n_copies = 2 if _suffix(path) == '.mat' else 1  # scipy makes one
    check_memory(n_copies * _size(shape), f'{path}: features of {shape[0]:,} images')


def check_suffix(path):
    """Checks that there is a format of a file's suffix.

    Raises:
        InputError: If not.
    """
    if _suffix(path) not in (*HDF5_SUFFIXES, '.mat', '.npy'):
        raise InputError(f'{path}: choose a name that ends with .h5, .mat or .npy')


def _check_size(path, shape):
    """Checks that float32 features of a shape fit into the format."""
    size = _size(shape)
    if size >= MATLAB_5_LIMIT and _suffix(path) == '.mat':
        raise InputError(
            f'{path}: {size / 2**30:.1f} GiB of features exceed the 2 GiB of a MATLAB 5 '
            'file; choose a name that ends with .h5'
        )


def _size(shape):
    """Returns the bytes of a float32 array."""
    return 4 * math.prod(map(int, shape))


def _suffix(path):
    return os.path.splitext(path)[1].lower()
