import h5py
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InputError
from lib.features.feature_file import Features, save_features
from lib.features.feature_source import FeatureSource
from lib.features.stored_features import StoredFeatures
from lib.files.fingerprint import fingerprint
from tests.lib.features.test_feature_file import write_matlab_73

SIZE = 5
FEATURES = numpy.random.RandomState(0).randn(12, SIZE).astype('float32')
SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [1.0, 2.0, 3.0], 'warp')


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    """Files with 1, 4 and 7 of the features."""
    folder, paths = tmp_path_factory.mktemp('shards'), []
    for number, rows in enumerate(numpy.split(FEATURES, [1, 5])):
        paths.append(folder / f'{number}.h5')
        save_features(paths[-1], Features(rows, SOURCE))
    return paths


def keep(stored, n_rows):
    stored.open(n_rows)
    stored.keep(stored.load(n_rows))
    return stored


@given(n_rows=st.integers(0, 12), rows=st.lists(st.integers(0, 11), max_size=30))
def test_any_rows_are_those_of_an_array(shards, n_rows, rows):
    rows = numpy.array(rows, 'int32')
    stored = keep(StoredFeatures(shards), n_rows)
    numpy.testing.assert_array_equal(stored[rows], FEATURES[rows])
    assert stored[rows].dtype == 'float32'
    numpy.testing.assert_array_equal(stored[2:9], FEATURES[2:9])


def test_looks_like_an_array(shards):
    stored = StoredFeatures(shards)
    for name in 'shape', 'ndim', 'dtype', 'nbytes':
        assert getattr(stored, name) == getattr(FEATURES, name)
    assert len(stored) == 12
    assert stored.source == SOURCE
    assert fingerprint(keep(stored, 3)) == fingerprint(FEATURES)


def test_what_is_computed_from_features_is_the_same(shards):
    imgids = numpy.array([0, 3, 4, 5, 9])
    stored, expected = Features(keep(StoredFeatures(shards), 2)), Features(FEATURES)
    stored.check_images(imgids)
    for actual, array in zip(
        stored.mean_and_inverse_std(imgids), expected.mean_and_inverse_std(imgids)
    ):
        numpy.testing.assert_array_equal(actual, array)


@pytest.mark.parametrize('dtype', ['f2', 'f4', 'f8', '>f4', '>f8', 'u1', 'i4'])
def test_rows_of_any_type_are_converted(tmp_path, dtype):
    values = (10 * FEATURES).astype(dtype)
    write_matlab_73(tmp_path / 'feats.mat', values.T)  # its header moves the values
    stored = keep(StoredFeatures([tmp_path / 'feats.mat']), 3)
    numpy.testing.assert_array_equal(stored[:], values.astype('f4'))


def test_values_that_are_too_large_become_infinite(tmp_path):
    write_matlab_73(tmp_path / 'feats.mat', numpy.full((SIZE, 3), 1e300))
    stored = keep(StoredFeatures([tmp_path / 'feats.mat']), 1)
    assert numpy.isposinf(stored[:]).all()


def test_features_in_chunks_have_to_be_in_memory(tmp_path):
    with h5py.File(tmp_path / 'feats.h5', 'w') as file:
        file.create_dataset('feats', data=FEATURES, chunks=True, compression='gzip')
    stored = StoredFeatures([tmp_path / 'feats.h5'])
    numpy.testing.assert_array_equal(stored.load(12), FEATURES)
    stored.open(12)
    with pytest.raises(InputError, match='feats.h5: .* not stored in one piece.*h5repack'):
        stored.open(11)


def test_features_of_a_type_that_numpy_lacks_have_to_be_in_memory(tmp_path):
    bfloat16 = h5py.h5t.IEEE_F32LE.copy()
    bfloat16.set_fields(15, 7, 8, 0, 7)
    bfloat16.set_size(2)
    bfloat16.set_ebias(127)
    with h5py.File(tmp_path / 'feats.h5', 'w') as file:
        file.create_dataset('feats', data=numpy.ones((3, 4), 'f4'), dtype=h5py.Datatype(bfloat16))
    stored = StoredFeatures([tmp_path / 'feats.h5'])
    numpy.testing.assert_array_equal(stored.load(3), 1)
    with pytest.raises(InputError, match='not stored in one piece'):
        stored.open()


def write_other_size(path):
    save_features(path, Features(numpy.ones((3, SIZE + 1), 'float32'), SOURCE))


def write_other_source(path):
    save_features(path, Features(FEATURES))


def write_no_feats(path):
    with h5py.File(path, 'w') as file:
        file['other'] = FEATURES


@pytest.mark.parametrize(
    'write, message',
    [
        (write_other_size, 'size 6, but .*0.h5 of size 5'),
        (write_other_source, 'not extracted in the same way as .*0.h5'),
        (write_no_feats, 'no variable "feats", only: other'),
        (lambda path: path.write_bytes(b''), 'not a MATLAB file'),
        (lambda path: None, 'No such file'),
    ],
)
def test_files_that_do_not_belong_together_are_rejected(shards, tmp_path, write, message):
    write(tmp_path / 'other.h5')
    with pytest.raises(InputError, match=f'other.h5: .*{message}'):
        StoredFeatures([*shards, tmp_path / 'other.h5'])


def test_a_file_that_has_been_replaced_meanwhile_is_an_error(shards, tmp_path):
    path = tmp_path / 'feats.h5'
    path.write_bytes(shards[2].read_bytes())
    stored = StoredFeatures([path])
    save_features(path, Features(FEATURES[:7] + 1, SOURCE))
    for use in stored.open, lambda: stored.load(3):
        with pytest.raises(InputError, match='feats.h5: has been replaced'):
            use()


def test_a_file_that_is_given_twice_is_rejected(shards):
    with pytest.raises(InputError, match='0.h5: is given twice'):
        StoredFeatures([shards[0], *shards])


def test_a_file_that_has_been_cut_short_meanwhile_is_an_error(shards, tmp_path):
    path = tmp_path / 'feats.h5'
    path.write_bytes(shards[2].read_bytes())
    stored = keep(StoredFeatures([path]), 0)
    with open(path, 'r+b') as file:
        file.truncate(100)
    with pytest.raises(InputError, match='feats.h5: has been cut short'):
        stored[:]
