"""Recognizing the arrays in a file of another program: features, or names of the rows' images."""

import itertools
import math
import re

import numpy

from lib.device import check_memory
from lib.errors import InputError

# What programs call the features, and what names the images of their rows. Arrays of other names
# are considered, too.
FEATURES = 'feats', 'features'
KEYS = 'filenames', 'ids', 'names', 'keys', 'paths', 'image_id', 'image_ids'
# What names of arrays of images contain.
OF_IMAGES = re.compile('image|img|file|path')


def find_matrix(path, shapes):
    """Returns the name of the features among arrays: one of ``FEATURES``, or the only matrix.

    Raises:
        InputError: If there is none, or it may be something else beside vectors of its size.
    """
    named = [name for name in FEATURES if name in shapes]
    if named:
        return named[0]
    matrices = [name for name, shape in shapes.items() if is_matrix(shape)]
    if len(matrices) == 1 and (shapes[matrices[0]][1],) not in shapes.values():
        return matrices[0]
    raise missing(path, 'array "features"', shapes)


def is_matrix(shape):
    """Returns whether an array has several rows."""
    return len(shape) == 2 and shape[0] > 1


def find_keys(path, n_rows, shapes, read):
    """Returns the arrays that may name the images of the rows, see :class:`FeatureFile`.

    Args:
        path (str): The file.
        n_rows (int): The number of rows.
        shapes (dict): From the names of arrays, except the features, to their shapes.
        read (callable): Takes the name of one and returns it.

    Raises:
        InputError: If there are more or fewer of them than rows, or they are something else.
    """
    keys_of = {}
    for name, shape in shapes.items():
        has_length = math.prod(shape) == n_rows == max(shape, default=0)
        is_likely = len(shape) == 1 and (name in KEYS or OF_IMAGES.search(name))
        if not has_length and not is_likely and name not in KEYS:
            continue
        keys = _to_keys(read(name))
        if has_length and keys is not None:
            keys_of[name] = keys
        elif is_likely and keys is not None and (name in KEYS or isinstance(keys[0], str)):
            raise InputError(f'{path}: has {len(keys)} {name}, but features of {n_rows} images')
        elif name in KEYS:
            raise InputError(
                f'{path}: {name} is not an array (N,) of strings or of distinct integers'
            )
    return keys_of


def _to_keys(array):
    """Returns an array of strings, or of distinct integers, as a list; None if it is neither."""
    array = array.ravel()
    if not array.size:
        return None
    if array.dtype.kind == 'O':  # MATLAB's cells
        cells = [cell.item() if getattr(cell, 'size', 0) == 1 else cell for cell in array]
        return cells if all(isinstance(cell, str) for cell in cells) else None
    if array.dtype.kind in 'SU':
        texts = (text if isinstance(text, str) else text.decode() for text in array.tolist())
        return [text.rstrip(' ') for text in texts]  # with which MATLAB fills a matrix
    if array.dtype.kind not in 'iuf' or len(numpy.unique(array)) < len(array):
        return None
    with numpy.errstate(invalid='ignore'):
        is_integer = array.dtype.kind != 'f' or (array == array.astype('int64')).all()
    return array.astype('int64').tolist() if is_integer else None


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
    if len(shape) != 2 or min(shape) < 1:  # damaged MATLAB files claim negative sizes
        raise InputError(f'{path}: {name} is {describe(shape)}; expected N x D, in MATLAB D x N')
    if not re.fullmatch(r'float\d+|u?int\d+', type_name):
        raise InputError(f'{path}: {name} contains {type_name}, not real numbers')


def describe(shape):
    """Returns the shape of what may be an array, for messages."""
    return ' x '.join(map(str, shape)) or 'not an array'


def allocate(path, shape):
    """Returns an array of a shape, float32, that a file is read into."""
    check_fits(path, 4 * math.prod(shape))
    return numpy.empty(shape, 'float32')


def check_fits(path, n_bytes):
    """Checks that memory holds what is read from a file."""
    check_memory(n_bytes, f'{path}, which is not mapped like .npy,')


def missing(path, what, names):
    """Returns the error of a file without features, which names what it contains instead."""
    names = [*itertools.islice(names, 11)]
    shown = ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')
    return InputError(f'{path}: has no {what}, only: {shown or "nothing"}')
