"""Image features: Karpathy's ``vgg_feats.mat`` and files like it."""

import json
from dataclasses import dataclass

import h5py
import numpy
import scipy.io

from lib.errors import InputError
from lib.files import check_self_contained, open_output, write_hdf5

# Values converted or checked at a time: few enough to need little memory, many enough to make
# Python's overhead negligible.
BLOCK = 1 << 22
# A variable in a MATLAB 5 file is smaller than 2 GB.
MATLAB_5_LIMIT = 2**31


@dataclass
class FeatureSource:
    """How features were extracted; those of new images must be extracted the same way.

    Attributes:
        network (str): File name of the caffemodel.
        layer (str): The blob whose values are the features.
        image_size (int): Width and height of the network's input, pixels.
        mean (list of float): Subtracted from blue, green and red.
        resize (str): ``'warp'`` or ``'crop'``, see :func:`lib.features.images.prepare_image`.
    """

    network: str
    layer: str
    image_size: int
    mean: list[float]
    resize: str

    @staticmethod
    def to_json(source: 'FeatureSource | None') -> str:
        return json.dumps(source and vars(source))

    @staticmethod
    def from_json(text: str) -> 'FeatureSource | None':
        fields = json.loads(text)
        return fields and FeatureSource(**fields)


@dataclass
class Features:
    """The features of a data set's images.

    Attributes:
        array (array): Row ``n`` holds the features of ``imgid`` ``n``, (N, D), float32.
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
                    'contain NaN or infinite values'
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
    try:
        with open(path, 'rb'):
            pass
        if h5py.is_hdf5(path):
            array, source = _read_matlab_73(path, allocate)
        else:
            array, source = _read_matlab_5(path)
    except OSError as error:
        reason = error.strerror or 'not a MATLAB file, or cut short'
        raise InputError(f'{path}: {reason}') from error
    except InputError:
        raise
    except Exception as error:
        # scipy and zlib raise many kinds of exceptions on damaged files.
        raise InputError(f'{path}: not a MATLAB file, or damaged ({error})') from error
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
    check_fits(path, features.array.shape)
    source = FeatureSource.to_json(features.source)
    if _is_hdf5_name(path):
        with write_hdf5(path) as file:
            file['feats'] = features.array
            file.attrs['feature_source'] = source
    else:
        with open_output(path) as file:
            scipy.io.savemat(file, {'feats': features.array.T, 'feature_source': source})


def check_fits(path, shape):
    """Checks that float32 features of a shape are not too large for a MATLAB 5 file.

    Raises:
        InputError: If they are.
    """
    size = 4 * shape[0] * shape[1]
    if size >= MATLAB_5_LIMIT and not _is_hdf5_name(path):
        raise InputError(
            f'{path}: {size / 2**30:.1f} GiB of features exceed the 2 GiB of a MATLAB 5 '
            'file; choose a name that ends with .h5'
        )


def _is_hdf5_name(path):
    return str(path).lower().endswith(('.h5', '.hdf5'))


def _read_matlab_5(path):
    variables = scipy.io.loadmat(path, variable_names=['feats', 'feature_source'])
    if 'feats' not in variables:
        names = ', '.join(name for name, *_ in scipy.io.whosmat(path)) or 'nothing'
        raise InputError(f'{path}: has no variable "feats", only: {names}')
    feats = variables.pop('feats')
    _check_feats(path, getattr(feats, 'shape', ()), getattr(feats, 'dtype', None))
    source = None
    if 'feature_source' in variables:
        source = FeatureSource.from_json(variables['feature_source'].item())
    # MATLAB stores column after column, so the transpose needs no copy.
    return _convert_to_float32(numpy.ascontiguousarray(feats.T)), source


def _read_matlab_73(path, allocate):
    with h5py.File(path) as file:
        # Only these: MATLAB's own files may contain references. "in" would follow a link.
        check_self_contained(path, file, [name for name in file if name == 'feats'])
        if not isinstance(file.get('feats'), h5py.Dataset):
            raise InputError(f'{path}: has no variable "feats", only: {", ".join(file)}')
        feats = file['feats']
        _check_feats(path, feats.shape, feats.dtype)
        array = allocate(feats.shape, 'float32')
        feats.read_direct(array)
        return array, FeatureSource.from_json(file.attrs.get('feature_source', 'null'))


def _check_feats(path, shape, dtype):
    if len(shape) != 2 or 0 in shape:
        actual = ' x '.join(map(str, shape)) or 'not an array'
        raise InputError(f'{path}: feats is {actual}; expected D x N, a column per image')
    if dtype is None or dtype.kind not in 'fiu':
        raise InputError(f'{path}: feats contains {dtype}, not real numbers')


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
            converted[start : start + BLOCK] = flat[start : start + BLOCK].astype('float32')
    return converted.reshape(array.shape)
