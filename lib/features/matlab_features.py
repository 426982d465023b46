"""Features in MATLAB 5 files, such as Karpathy's ``vgg_feats.mat``."""

import itertools
import math

import numpy
import scipy

from lib.device import check_memory
from lib.errors import InputError
from lib.features.feature_matrix import BLOCK, FLOAT32, FeatureMatrix, check_matrix, errors_of
from lib.features.feature_source import FeatureSource

MATLAB_FLOATS = {'double': 'float64', 'single': 'float32'}
EXPECTED = 'D x N, a column per image'
# The names of images, as lib.files.hdf5.write_texts writes them, and their types in MATLAB.
NAME_VARIABLES = {'filenames': 'uint8', 'filenames_offsets': 'int64'}


class MatlabFeatures(FeatureMatrix):
    """``feats`` of a MATLAB 5 file: D x N, column ``n`` for row ``n``.

    scipy can read it only as a whole; it is smaller than 2 GB.

    Args:
        path (str): The file.

    Raises:
        InputError: If it cannot be read, or ``feats`` is not an array of real numbers.
    """

    def __init__(self, path):
        with errors_of(path, 'a MATLAB file'):
            contained = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
            if 'feats' not in contained:
                raise missing_feats(path, contained)
            # Before anything is read, since it may be compressed.
            shape, kind = contained['feats']
            dtype = MATLAB_FLOATS.get(kind, kind)
            check_matrix(path, 'feats', shape, dtype, EXPECTED)
            if contained.get('feature_source', ((1,), 'char')) != ((1,), 'char'):
                raise ValueError('feature_source is not a text')
            small = {name: contained[name] for name in contained if name in NAME_VARIABLES}
            check_memory(sum(8 * math.prod(shape) for shape, _ in small.values()), path)
            variables = scipy.io.loadmat(path, variable_names=['feature_source', *small])
            source = names = None
            if 'feature_source' in variables:
                source = FeatureSource.from_json(variables['feature_source'].item())
            # Other variables of these names are somebody else's.
            if {name: kind for name, (_, kind) in small.items()} == NAME_VARIABLES:
                names = _split(*(variables[name].ravel() for name in NAME_VARIABLES))
            super().__init__(path, shape[::-1], numpy.dtype(dtype), source, names)

    def load(self, allocate=numpy.empty):
        """Returns all rows, (N, D), float32; ``allocate`` is not used."""
        with errors_of(self.path, 'a MATLAB file'):
            n_bytes = math.prod(self.shape) * max(self.dtype.itemsize, FLOAT32.itemsize)
            check_memory(n_bytes, self.path)
            feats = scipy.io.loadmat(self.path, variable_names=['feats']).pop('feats')
            # Only now complex numbers are seen.
            check_matrix(self.path, 'feats', feats.shape, feats.dtype.name, EXPECTED)
            # MATLAB stores column after column, so the transpose needs no copy.
            return _convert_to_float32(numpy.ascontiguousarray(feats.T))

    def read(self, rows):
        yield slice(0, len(rows)), slice(None), self.load()[rows]


def missing_feats(path, names):
    """Returns the error of a file without features.

    Args:
        path (str): The file.
        names (iterable of str): What it contains instead.
    """
    names = [*itertools.islice(names, 11)]
    shown = ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')
    return InputError(f'{path}: has no variable "feats", only: {shown or "nothing"}')


def _split(content, offsets):
    """Returns the texts that :func:`lib.files.hdf5.write_texts` has joined."""
    if not len(offsets) or offsets[0] or offsets[-1] != len(content) or (offsets < 0).any():
        raise ValueError('the file names do not fit together')
    content = content.tobytes()
    return [content[start:stop].decode() for start, stop in itertools.pairwise(offsets.tolist())]


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
            with numpy.errstate(over='ignore'):  # becomes infinite, an error where it is used
                block = flat[start : start + BLOCK].astype('float32')
            converted[start : start + BLOCK] = block
    return converted.reshape(array.shape)
