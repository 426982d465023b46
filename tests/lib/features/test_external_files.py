"""Files of other programs that are damaged, hostile, or contain something else."""

import io
import zipfile

import h5py
import numpy
import pytest

from lib.errors import InputError
from lib.features.feature_file import load_features, open_features

FEATURES = numpy.random.RandomState(0).randn(4, 3).astype('float32')
NAMES = numpy.array([f'{n}.jpg' for n in range(4)])


def savez(**arrays):
    return lambda path: path.write_bytes(_npz(arrays))


def _npz(arrays):
    buffer = io.BytesIO()
    numpy.savez(buffer, **arrays)
    return buffer.getvalue()


def save(array):
    return lambda path: path.write_bytes(_npy(array))


def _npy(array):
    buffer = io.BytesIO()
    numpy.save(buffer, array)
    return buffer.getvalue()


def hdf5(entries):
    def write(path):
        with h5py.File(path, 'w') as file:
            for name, value in entries.items():
                file[name] = value

    return write


def claim_huge(path):
    """Writes a header of a petabyte, and little else."""
    header = {'descr': '<f4', 'fortran_order': False, 'shape': (10**10, 10**5)}
    with open(path, 'wb') as file:
        numpy.lib.format.write_array_header_1_0(file, header)
        file.write(b'0' * 100)


def claim_huge_in_zip(path):
    claim_huge(path)
    content = path.read_bytes()
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('features.npy', content)


def claim_huge_hdf5(path):
    with h5py.File(path, 'w') as file:
        file.create_dataset('features', (10**9, 10**5), 'f4')


def refer(path):
    with h5py.File(path, 'w') as file:
        file['features'] = FEATURES
        file['filenames'] = numpy.array([file['features'].ref] * 4, h5py.ref_dtype)


def link(path):
    with h5py.File(path, 'w') as file:
        file['0.jpg'] = FEATURES[0]
        file['1.jpg'] = h5py.ExternalLink('other.h5', '/1.jpg')


OBJECTS = numpy.array(['a.jpg', None, 'c', 'd'], object)


@pytest.mark.parametrize(
    'write, message',
    [
        (save(FEATURES[0]), 'the array is 3; expected N x D'),
        (save(FEATURES[None]), 'the array is 1 x 4 x 3'),
        (save(FEATURES * 1j), 'the array contains complex'),
        (save(FEATURES > 0), 'the array contains bool, not real numbers'),
        (save(NAMES[None]), 'the array contains str'),
        (save(OBJECTS), 'not a NumPy array, or damaged'),
        (save(FEATURES[:0]), 'feats'),
        (claim_huge, 'not a NumPy array, or damaged'),
        (claim_huge_in_zip, 'must limit .* which would take'),
        (claim_huge_hdf5, 'must limit .* which would take'),
        (savez(other=FEATURES), 'has no array "features", only: other'),
        (savez(), 'has no array "features", only: nothing'),
        (savez(features=FEATURES[0]), 'features is 3; expected N x D'),
        (savez(features=FEATURES, filenames=NAMES[1:]), 'has 3 filenames, but features of 4'),
        (savez(features=FEATURES, ids=numpy.arange(5)), 'has 5 ids, but features of 4'),
        (savez(features=FEATURES, filenames=OBJECTS), 'filenames contains Python objects'),
        (savez(features=FEATURES, filenames=numpy.arange(4)), 'filenames are int64, not strings'),
        (savez(features=FEATURES, ids=NAMES), 'ids are <U5, not integers'),
        (savez(features=FEATURES, ids=numpy.eye(4, dtype=int)), 'ids has 2 dimensions'),
        (savez(features=FEATURES, filenames=NAMES, ids=numpy.arange(4)), 'both filenames and ids'),
        (hdf5({'features': FEATURES, 'filenames': ['a']}), 'has 1 filenames'),
        (hdf5({'features': FEATURES, 'filenames': numpy.arange(4)}), 'not an array of strings'),
        (hdf5({'features': FEATURES, 'ids': numpy.ones(4)}), 'ids are float64'),
        (hdf5({'features': FEATURES, 'ids': 3}), 'ids is not an array of integers'),
        (hdf5({'a': FEATURES[0], 'b': FEATURES[0, :2]}), '"b" is 2, but "a" a vector of 3'),
        (hdf5({'a': FEATURES[0], 'b': FEATURES}), '"b" is 4 x 3, but "a" a vector of 3'),
        (hdf5({'a': FEATURES[0], 'b': 'text'}), '"b" is not an array'),
        (hdf5({'a': FEATURES[0] * 1j}), '"a" contains complex'),
        (hdf5({}), 'no variable "feats", only: nothing'),
        (refer, '"/filenames" refers to something else'),
        (link, '"/1.jpg" refers to something else'),
    ],
)
def test_other_content_is_an_error_that_says_what_is_wrong(tmp_path, write, message):
    path = tmp_path / 'feats'
    write(path)
    with pytest.raises(InputError, match=message):
        load_features(path)


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / 'feats.npz'
    path.write_bytes(_npz({'features': OBJECTS}))
    with pytest.raises(InputError):
        load_features(path)


@pytest.mark.parametrize('compressed', [False, True])
def test_truncated_and_changed_files_are_rejected(tmp_path, compressed):
    for suffix, content in (('npy', _npy(FEATURES)), ('npz', b'')):
        path = tmp_path / f'feats.{suffix}'
        if suffix == 'npz':
            save = numpy.savez_compressed if compressed else numpy.savez
            save(path, features=FEATURES, filenames=NAMES)
            content = path.read_bytes()
        for length in range(1, len(content) - 1, 7):
            path.write_bytes(content[:length])
            with pytest.raises(InputError):
                load_features(path)
    rng = numpy.random.RandomState(0)
    for _ in range(200):
        changed = bytearray(content)
        changed[rng.randint(len(content))] = rng.randint(256)
        path.write_bytes(changed)
        try:
            assert load_features(path).array.shape == (4, 3)
        except InputError as error:
            assert '\n' not in str(error)


def test_a_file_that_has_been_replaced_meanwhile_is_an_error(tmp_path):
    for suffix, write in (('npy', save), ('npz', lambda array: savez(features=array))):
        path = tmp_path / f'feats.{suffix}'
        write(FEATURES)(path)
        features = open_features(path)
        write(FEATURES[1:])(path)
        with pytest.raises(InputError, match='has been replaced meanwhile'):
            features.load()
