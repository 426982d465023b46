import h5py
import numpy
import pytest
import scipy.io

from lib.errors import InputError
from lib.features.feature_file import Features, load_features, save_features
from lib.features.feature_source import FeatureSource

FEATURES = numpy.random.RandomState(0).randn(6, 4).astype('float32')
SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [1.0, 2.0, 3.0], 'warp')


def write_matlab_73(path, feats):
    """Writes HDF5 as MATLAB does: arrays transposed, after a header of 512 bytes."""
    with h5py.File(path, 'w', userblock_size=512) as file:
        file['feats'] = feats.T
    with open(path, 'r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(512))


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('dtype', ['f4', 'f8', '>f4', '>f8', 'u1', 'i4'])
def test_reads_matlab_5_files(tmp_path, dtype, compressed):
    path = tmp_path / 'feats.mat'
    values = (10 * FEATURES).astype(dtype)
    scipy.io.savemat(path, {'feats': values.T, 'other': 1}, do_compression=compressed)
    features = load_features(path)
    assert features.array.dtype == 'float32'
    assert features.array.flags.c_contiguous
    assert features.source is None
    numpy.testing.assert_array_equal(features.array, values.astype('f4'))


@pytest.mark.parametrize('dtype', ['f4', 'f8'])
def test_reads_matlab_73_files(tmp_path, dtype):
    path = tmp_path / 'feats.mat'
    write_matlab_73(path, FEATURES.T.astype(dtype))
    numpy.testing.assert_array_equal(load_features(path).array, FEATURES)


def test_conversion_in_blocks_keeps_every_value(tmp_path, monkeypatch):
    monkeypatch.setattr('lib.features.matlab_features.BLOCK', 7)
    values = numpy.random.RandomState(1).randn(100, 33)
    scipy.io.savemat(tmp_path / 'feats.mat', {'feats': values.T})
    numpy.testing.assert_array_equal(
        load_features(tmp_path / 'feats.mat').array, values.astype('f4')
    )


@pytest.mark.parametrize('name', ['feats.mat', 'feats.h5'])
def test_saved_features_load_unchanged_with_their_source(tmp_path, name):
    save_features(tmp_path / name, Features(FEATURES, SOURCE))
    features = load_features(tmp_path / name)
    numpy.testing.assert_array_equal(features.array, FEATURES)
    assert features.source == SOURCE
    assert features.path == str(tmp_path / name)


@pytest.mark.parametrize('name', ['feats.mat', 'feats.h5'])
def test_features_of_unknown_source_can_be_saved(tmp_path, name):
    save_features(tmp_path / name, Features(FEATURES))
    assert load_features(tmp_path / name).source is None


def test_saved_matlab_5_files_have_a_column_per_image(tmp_path):
    save_features(tmp_path / 'feats.mat', Features(FEATURES, SOURCE))
    assert scipy.io.loadmat(tmp_path / 'feats.mat')['feats'].shape == (4, 6)


def test_features_too_large_for_matlab_5_are_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr('lib.features.feature_file.MATLAB_5_LIMIT', 90)
    with pytest.raises(InputError, match='MATLAB 5'):
        save_features(tmp_path / 'feats.mat', Features(FEATURES, SOURCE))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'content, message',
    [
        ({'features': FEATURES}, 'no variable "feats", only: features'),
        ({'feats': numpy.ones((2, 3, 4))}, '2 x 3 x 4'),
        ({'feats': numpy.ones((0, 4))}, '0 x 4'),
        ({'feats': FEATURES * 1j}, 'complex'),
        ({'feats': 'text'}, 'feats'),
        ({'feats': {'a': 1}}, 'feats'),
    ],
)
def test_files_without_a_real_matrix_are_rejected(tmp_path, content, message):
    path = tmp_path / 'feats.mat'
    scipy.io.savemat(path, content)
    with pytest.raises(InputError, match=message):
        load_features(path)


@pytest.mark.parametrize(
    'content, message',
    [(None, 'No such file'), (b'', 'not a MATLAB file'), (b'text' * 100, 'not a MATLAB file')],
)
def test_files_in_other_formats_are_rejected(tmp_path, content, message):
    path = tmp_path / 'feats.mat'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_features(path)


@pytest.mark.parametrize('compressed', [False, True])
def test_truncated_matlab_5_files_are_rejected(tmp_path, compressed):
    path = tmp_path / 'feats.mat'
    scipy.io.savemat(path, {'feats': FEATURES.T}, do_compression=compressed)
    whole = path.read_bytes()
    for length in range(1, len(whole) - 8, 9):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_features(path)


def test_truncated_matlab_73_files_are_rejected(tmp_path):
    path = tmp_path / 'feats.mat'
    write_matlab_73(path, FEATURES.T)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError):
        load_features(path)


def test_features_in_another_file_are_rejected(tmp_path):
    with h5py.File(tmp_path / 'other.h5', 'w') as file:
        file['feats'] = numpy.ones((3, 4))
    with h5py.File(tmp_path / 'feats.h5', 'w') as file:
        file['feats'] = h5py.ExternalLink(str(tmp_path / 'other.h5'), '/feats')
    with pytest.raises(InputError, match='feats.h5: "/feats" refers to something else'):
        load_features(tmp_path / 'feats.h5')


def test_check_images_names_the_first_image_whose_features_are_not_finite(monkeypatch):
    monkeypatch.setattr('lib.features.feature_file.BLOCK', 8)
    for value in numpy.nan, numpy.inf, -numpy.inf:
        array = FEATURES.copy()
        array[3, 1] = array[5, 0] = value
        features = Features(array, path='feats.mat')
        with pytest.raises(InputError, match=r'feats\.mat: .* imgid 3 '):
            features.check_images(numpy.arange(6))
        features.check_images(numpy.array([0, 1, 2, 4]))


def test_check_images_rejects_an_imgid_without_features():
    features = Features(FEATURES, path='feats.mat')
    features.check_images(numpy.array([0, 5]))
    with pytest.raises(InputError, match=r'feats\.mat: .* 6 images.*imgid 6'):
        features.check_images(numpy.array([0, 6]))


def test_mean_and_inverse_std_standardize_the_given_images(monkeypatch):
    monkeypatch.setattr('lib.features.feature_file.BLOCK', 8)
    array = numpy.hstack([5 * FEATURES + 3, numpy.full((6, 1), 7)]).astype('float32')
    imgids = numpy.array([0, 2, 3, 5])
    mean, inverse_std = Features(array).mean_and_inverse_std(imgids)
    standardized = (array[imgids] - mean) * inverse_std
    numpy.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-6)
    numpy.testing.assert_allclose(standardized.std(axis=0), [1, 1, 1, 1, 0], atol=1e-5)
