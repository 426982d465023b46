"""Reading a vector of each image: from a folder of ``ID.npy``, or from entries of an HDF5 file."""

import os

import h5py
import numpy

from lib.errors import InputError
from lib.features.arrays import allocate, check_matrix, describe, missing
from lib.features.image_paths import files_below
from lib.files.input import check_input


def read_vectors_in_folder(path):
    """Reads a vector (D,) or (1, D) of each ``.npy`` file below a folder.

    Returns:
        tuple: The vectors, (N, D), float32, and the names of the files without ``.npy``, as keys
        of a :class:`lib.features.formats.FeatureFile`.

    Raises:
        InputError: If there are none, or they have different sizes.
    """
    names = sorted(file for file in files_below(path) if file.endswith('.npy'))

    def read(name):
        file = os.path.join(path, name)
        try:
            check_input(file)
            return numpy.lib.format.open_memmap(file, mode='r')
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f'{file}: not an array in .npy, or damaged ({error})') from error

    rows = _stack(path, names, read, 'files ID.npy')
    return rows, {'names': [os.path.splitext(name)[0] for name in names]}


def read_vectors_in_hdf5(path, file):
    """Reads a vector (D,) or (1, D) of each entry of an HDF5 file.

    Returns:
        tuple: The vectors, (N, D), float32, and the names of the entries, as above.

    Raises:
        InputError: If there are none, or they have different sizes.
    """
    names = []

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            names.append(name)

    file.visititems(add)
    return _stack(path, names, file.__getitem__, 'matrix "features"'), {'names': names}


def _stack(path, names, read, expected):
    """Returns the vectors of some names as rows, (N, D), float32."""
    rows = None
    for n, name in enumerate(names):
        vector = read(name)
        shape = vector.shape or ()
        if not (len(shape) == 1 or (len(shape) == 2 and shape[0] == 1)):
            raise InputError(
                f'{path}: "{name}" is {describe(shape)}; expected a vector of each image'
            )
        if rows is None:
            rows = allocate(path, (len(names), shape[-1]))
        if shape[-1] != rows.shape[1]:
            raise InputError(
                f'{path}: "{name}" is {describe(shape)}, but "{names[0]}" a vector of '
                f'{rows.shape[1]}'
            )
        check_matrix(path, f'"{name}"', (1, shape[-1]), vector.dtype.name)
        with numpy.errstate(over='ignore'):  # becomes infinite, an error where it is used
            rows[n] = vector[()].reshape(-1)
    if rows is None:
        raise missing(path, expected, names)
    return rows
