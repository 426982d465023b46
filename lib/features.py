"""Image features: Karpathy's ``vgg_feats.mat`` and files like it."""

import json
from dataclasses import dataclass

from lib.errors import InputError
from lib.files import replacing

import h5py
import numpy
import scipy.io

# Values converted or checked at a time: small beside a 2 GB file, large beside Python's overhead.
BLOCK = 1 << 22
# A MATLAB 5 file holds no variable of 2 GB or more.
MATLAB_5_LIMIT = 2 ** 31


@dataclass
class FeatureSource:
    """How features were made; what a model needs to know to caption new photographs.

    Attributes:
        network (str): File name of the caffemodel.
        layer (str): The blob that was taken.
        image_size (int): Width and height of the network's input, pixels.
        mean (list of float): Subtracted from blue, green and red.
        resize (str): ``'warp'`` or ``'crop'``, see :func:`lib.photographs.prepare`.
    """

    network: str
    layer: str
    image_size: int
    mean: list
    resize: str


@dataclass
class Features:
    """Features of a data set.

    Attributes:
        array (array): One row per image, row ``n`` for ``imgid`` ``n``, (N, D), float32.
        source (FeatureSource): How they were made, or None if the file does not say.
    """

    array: numpy.ndarray
    source: FeatureSource = None


def load_features(path):
    """Reads ``feats`` (D x N, column ``n`` for ``imgid`` ``n``) of a MATLAB 5 or 7.3 file.

    Only one copy is ever in memory.

    Args:
        path (str): The ``.mat`` file.

    Returns:
        Features: The features, one row per image.

    Raises:
        InputError: If the file cannot be read or ``feats`` is no D x N array of real numbers.
    """
    try:
        with open(path, 'rb'):
            pass
        array, source = (_read_matlab_73 if h5py.is_hdf5(path) else _read_matlab_5)(path)
    except OSError as error:
        reason = error.strerror or 'not a MATLAB file, or cut short'
        raise InputError(f'{path}: {reason}') from error
    except InputError:
        raise
    except Exception as error:
        # scipy and zlib raise whatever a damaged file makes them trip over.
        raise InputError(f'{path}: not a MATLAB file, or damaged ({error})') from error
    return Features(array, source)


def check_features(features, captions, path):
    """Checks that every captioned image has usable features.

    Args:
        features (Features): Features as read from ``path``.
        captions (lib.caption_file.Captions): The data set they are for.
        path (str): Named in error messages.

    Raises:
        InputError: If columns are missing, or hold NaN or infinite values.
    """
    array = features.array
    needed = int(captions.imgid.max()) + 1
    if len(array) < needed:
        raise InputError(f'{path}: feats has {len(array)} columns, but the captions speak of '
                         f'imgid {needed - 1}; features and captions do not belong together')
    rows = max(1, BLOCK // array.shape[1])
    for start in range(0, needed, rows):
        bad = ~numpy.isfinite(array[start:min(start + rows, needed)]).all(axis=1)
        bad[~numpy.isin(numpy.arange(start, start + len(bad)), captions.imgid)] = False
        if bad.any():
            raise InputError(f'{path}: column {start + int(bad.argmax())} of feats holds NaN or '
                             'infinite values (columns count from 0, as imgid does)')


def mean_and_scale(array, rows):
    """Measures what makes the features of some images zero in mean and one in deviation.

    Args:
        array (array): (N, D), float32.
        rows (array): The rows that count, (n,), integers.

    Returns:
        tuple of arrays: The mean and the reciprocal of the standard deviation of each
        dimension, (D,), float32. The latter is 0 where the dimension is constant.
    """
    total = numpy.zeros(array.shape[1])
    squares = numpy.zeros(array.shape[1])
    blocks = numpy.array_split(rows, 1 + rows.size * array.shape[1] // BLOCK)
    for block in blocks:
        total += array[block].sum(axis=0, dtype='float64')
    mean = total / len(rows)
    for block in blocks:
        squares += ((array[block] - mean) ** 2).sum(axis=0)
    deviation = numpy.sqrt(squares / len(rows))
    varies = deviation > 1e-6 * deviation.max()
    scale = numpy.divide(1, deviation, out=numpy.zeros_like(deviation), where=varies)
    return mean.astype('float32'), scale.astype('float32')


def save_features(path, features):
    """Writes features as :func:`load_features` reads them.

    Args:
        path (str): File to write: HDF5, as MATLAB 7.3 has it, if it ends with ``.h5``,
            otherwise MATLAB 5, which Karpathy's tools read.
        features (Features): What to write.

    Raises:
        InputError: If they are too large for the format.
    """
    check_fits(path, features.array.shape)
    source = json.dumps(vars(features.source))
    if is_hdf5_name(path):
        with replacing(path) as temporary, h5py.File(temporary, 'w') as file:
            file['feats'] = features.array
            file.attrs['feature_source'] = source
        return
    with replacing(path) as temporary, open(temporary, 'wb') as file:
        scipy.io.savemat(file, {'feats': features.array.T, 'feature_source': source})


def is_hdf5_name(path):
    return str(path).lower().endswith(('.h5', '.hdf5'))


def check_fits(path, shape):
    """Raises InputError if float32 features of a shape are too large for a MATLAB 5 file."""
    size = 4 * shape[0] * shape[1]
    if size >= MATLAB_5_LIMIT and not is_hdf5_name(path):
        raise InputError(f'{path}: {size / 2 ** 30:.1f} GiB of features do not fit into '
                         'a MATLAB 5 file, which ends at 2 GiB; choose a name that ends with .h5')


def _read_matlab_5(path):
    variables = scipy.io.loadmat(path, variable_names=['feats', 'feature_source'])
    if 'feats' not in variables:
        found = ', '.join(name for name, *_ in scipy.io.whosmat(path)) or 'nothing'
        raise InputError(f'{path}: has no variable "feats", only: {found}')
    feats = variables.pop('feats')
    _check_kind(path, getattr(feats, 'shape', ()), getattr(feats, 'dtype', None))
    source = None
    if 'feature_source' in variables:
        source = FeatureSource(**json.loads(variables['feature_source'].item()))
    # MATLAB stores columns, so the transpose is the array as it lies in memory.
    return _narrow(numpy.ascontiguousarray(feats.T)), source


def _read_matlab_73(path):
    with h5py.File(path) as file:
        if not isinstance(file.get('feats'), h5py.Dataset):
            raise InputError(f'{path}: has no variable "feats", only: {", ".join(file)}')
        dataset = file['feats']
        _check_kind(path, dataset.shape, dataset.dtype)
        array = numpy.empty(dataset.shape, 'float32')
        dataset.read_direct(array)
        source = file.attrs.get('feature_source')
    return array, source and FeatureSource(**json.loads(source))


def _check_kind(path, shape, dtype):
    if len(shape) != 2 or 0 in shape:
        sides = ' x '.join(map(str, shape))
        raise InputError(f'{path}: feats is {sides or "no array"}; D x N was expected, '
                         'a column per image')
    if dtype is None or dtype.kind not in 'fiu':
        raise InputError(f'{path}: feats holds {dtype}, not real numbers')


def _narrow(array):
    """Converts a C-contiguous array to float32 without a second copy of a wider one."""
    if array.dtype.itemsize < 4:
        return array.astype('float32')
    flat = array.reshape(-1)
    narrow = flat.view('float32')[:flat.size]
    if array.dtype != 'float32':
        # Value n is written at or before the place it is read from, so none is lost.
        for start in range(0, flat.size, BLOCK):
            narrow[start:start + BLOCK] = flat[start:start + BLOCK].astype('float32')
    return narrow.reshape(array.shape)
