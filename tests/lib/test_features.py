from lib.caption_file import Captions
from lib.errors import InputError
from lib.features import (
    Features,
    FeatureSource,
    check_features,
    load_features,
    mean_and_scale,
    save_features,
)
from lib.karpathy import CaptionedImage

import h5py
import numpy
import pytest
import scipy.io

FEATURES = numpy.random.RandomState(0).randn(6, 4).astype('float32')
SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [1.0, 2.0, 3.0], 'warp')


def write_matlab_73(path, feats):
    """MATLAB's HDF5 files begin with 512 bytes of its own and hold arrays transposed."""
    with h5py.File(path, 'w', userblock_size=512) as file:
        file['feats'] = feats.T
    with open(path, 'r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(512))


def captions_for(imgids):
    return Captions.from_images(
        [CaptionedImage(imgid, -1, 'x.jpg', 'train', [['a']], ['a']) for imgid in imgids], 1)


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('dtype', ['f4', 'f8', '>f4', '>f8', 'u1', 'i4'])
def test_reads_matlab_5(tmp_path, dtype, compressed):
    path = tmp_path / 'feats.mat'
    values = (10 * FEATURES).astype(dtype)
    scipy.io.savemat(path, {'feats': values.T, 'other': 1}, do_compression=compressed)
    features = load_features(path)
    assert features.array.dtype == 'float32'
    assert features.array.flags.c_contiguous
    assert features.source is None
    numpy.testing.assert_array_equal(features.array, values.astype('f4'))


@pytest.mark.parametrize('dtype', ['f4', 'f8'])
def test_reads_matlab_73(tmp_path, dtype):
    path = tmp_path / 'feats.mat'
    write_matlab_73(path, FEATURES.T.astype(dtype))
    numpy.testing.assert_array_equal(load_features(path).array, FEATURES)


def test_narrowing_keeps_every_value_of_a_large_array(tmp_path, monkeypatch):
    monkeypatch.setattr('lib.features.BLOCK', 7)
    values = numpy.random.RandomState(1).randn(100, 33)
    scipy.io.savemat(tmp_path / 'feats.mat', {'feats': values.T})
    numpy.testing.assert_array_equal(load_features(tmp_path / 'feats.mat').array,
                                     values.astype('f4'))


def test_what_is_saved_is_read_back_with_its_source(tmp_path):
    path = tmp_path / 'feats.mat'
    save_features(path, Features(FEATURES, SOURCE))
    features = load_features(path)
    numpy.testing.assert_array_equal(features.array, FEATURES)
    assert features.source == SOURCE
    assert scipy.io.loadmat(path)['feats'].shape == (4, 6)


def test_refuses_to_save_what_matlab_5_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr('lib.features.MATLAB_5_LIMIT', 90)
    with pytest.raises(InputError, match='MATLAB 5'):
        save_features(tmp_path / 'feats.mat', Features(FEATURES, SOURCE))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('content, message', [
    ({'features': FEATURES}, 'no variable "feats", only: features'),
    ({'feats': numpy.ones((2, 3, 4))}, '2 x 3 x 4'),
    ({'feats': numpy.ones((0, 4))}, '0 x 4'),
    ({'feats': FEATURES * 1j}, 'complex'),
    ({'feats': 'text'}, 'feats'),
    ({'feats': {'a': 1}}, 'feats'),
])
def test_refuses_other_content(tmp_path, content, message):
    path = tmp_path / 'feats.mat'
    scipy.io.savemat(path, content)
    with pytest.raises(InputError, match=message):
        load_features(path)


@pytest.mark.parametrize('content, message', [
    (None, 'No such file'), (b'', 'not a MATLAB file'), (b'text' * 100, 'not a MATLAB file')])
def test_refuses_other_files(tmp_path, content, message):
    path = tmp_path / 'feats.mat'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_features(path)


@pytest.mark.parametrize('compressed', [False, True])
def test_refuses_truncated_matlab_5_files(tmp_path, compressed):
    path = tmp_path / 'feats.mat'
    scipy.io.savemat(path, {'feats': FEATURES.T}, do_compression=compressed)
    whole = path.read_bytes()
    for length in range(1, len(whole) - 8, 9):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_features(path)


def test_refuses_truncated_matlab_73_files(tmp_path):
    path = tmp_path / 'feats.mat'
    write_matlab_73(path, FEATURES.T)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError):
        load_features(path)


def test_check_names_the_first_bad_column(monkeypatch):
    monkeypatch.setattr('lib.features.BLOCK', 8)
    for bad in numpy.nan, numpy.inf, -numpy.inf:
        array = FEATURES.copy()
        array[3, 1] = array[5, 0] = bad
        with pytest.raises(InputError, match='column 3 '):
            check_features(Features(array), captions_for(range(6)), 'feats.mat')
        check_features(Features(array), captions_for([0, 1, 2, 4]), 'feats.mat')


def test_check_counts_columns():
    check_features(Features(FEATURES), captions_for([0, 5]), 'feats.mat')
    with pytest.raises(InputError, match='6 columns.*imgid 6'):
        check_features(Features(FEATURES), captions_for([0, 6]), 'feats.mat')


def test_mean_and_scale_standardize_the_chosen_rows(monkeypatch):
    monkeypatch.setattr('lib.features.BLOCK', 8)
    array = numpy.hstack([5 * FEATURES + 3, numpy.full((6, 1), 7)]).astype('float32')
    rows = numpy.array([0, 2, 3, 5])
    mean, scale = mean_and_scale(array, rows)
    standardized = (array[rows] - mean) * scale
    numpy.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-6)
    numpy.testing.assert_allclose(standardized.std(axis=0), [1, 1, 1, 1, 0], atol=1e-5)
