import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.captions.dataset import CaptionDataset
from lib.captions.readers import CaptionedImage
from lib.errors import InputError, InputWarning
from lib.features import table as table_module
from lib.features.feature_source import ExternalSource, FeatureSource
from lib.features.table import FeatureTable
from lib.features.writer import save_features
from lib.files.fingerprint import fingerprint

SIZE, N_IMAGES = 5, 12
FEATURES = numpy.random.RandomState(0).randn(N_IMAGES, SIZE).astype('float32')
SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [1.0, 2.0, 3.0], 'warp')
NAMES = [f'{n}.jpg' for n in range(N_IMAGES)]


def make_dataset():
    images = [
        CaptionedImage(n, -1, name, 'train', [['a', 'dog']], ['a dog'])
        for n, name in enumerate(NAMES)
    ]
    return CaptionDataset.from_images(images, min_count=1)


def open_table(paths, combine=None):
    dataset = make_dataset()
    return FeatureTable.open(paths, dataset, numpy.arange(N_IMAGES), combine)


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    """Files with 1, 4 and 7 of the features."""
    folder, paths = tmp_path_factory.mktemp('parts'), []
    for number, rows in enumerate(numpy.split(FEATURES, [1, 5])):
        paths.append(folder / f'{number}.h5')
        save_features(paths[-1], rows, SOURCE)
    return paths


@pytest.fixture(scope='module')
def named(tmp_path_factory):
    """A file with the features in another order, and their names."""
    path = tmp_path_factory.mktemp('named') / 'all.h5'
    save_features(path, FEATURES[::-1], SOURCE, NAMES[::-1])
    return [path]


@pytest.fixture(params=['parts', 'named', 'one', 'float64', 'array'])
def table(request, tmp_path):
    """A table of the same features, from all kinds of files."""
    if request.param in ('parts', 'named'):
        return open_table(request.getfixturevalue(request.param))
    if request.param == 'one':
        save_features(tmp_path / 'feats.mat', FEATURES, SOURCE)
        return open_table([tmp_path / 'feats.mat'])
    if request.param == 'float64':
        numpy.save(tmp_path / 'feats.npy', FEATURES.astype('f8'))
        return open_table([tmp_path / 'feats.npy'])
    return FeatureTable(FEATURES, SOURCE)


@given(rows=st.lists(st.integers(0, N_IMAGES - 1), max_size=30))
def test_any_rows_are_those_of_an_array(table, rows):
    rows = numpy.array(rows, 'int32')
    numpy.testing.assert_array_equal(table[rows], FEATURES[rows])
    assert table[rows].dtype == 'float32'
    assert type(table[rows]) is numpy.ndarray


def test_a_table_looks_like_an_array(table):
    for name in 'shape', 'dtype', 'nbytes':
        assert getattr(table, name) == getattr(FEATURES, name)
    assert len(table) == N_IMAGES
    numpy.testing.assert_array_equal(table[2:9], FEATURES[2:9])
    numpy.testing.assert_array_equal(table[:], FEATURES)
    assert fingerprint(table) == fingerprint(FEATURES)


def test_what_is_computed_from_features_is_the_same(table, monkeypatch):
    monkeypatch.setattr(table_module, 'BLOCK', 2 * SIZE)
    imgids = numpy.array([0, 3, 4, 5, 9])
    table.check_images(make_dataset(), imgids)
    expected = FeatureTable(FEATURES).mean_and_inverse_std(imgids)
    numpy.testing.assert_array_equal(table.mean_and_inverse_std(imgids), expected)


@pytest.mark.parametrize('fits', [True, False])
def test_a_table_on_a_device_returns_rows_there(device, table, monkeypatch, recwarn, fits):
    monkeypatch.setattr(table_module, 'BLOCK', 3 * SIZE)
    if not fits:
        monkeypatch.setattr(table_module, 'SHARE_OF_GPU_MEMORY', 0)
    table.to_device(device)
    notes = [str(note.message) for note in recwarn if note.category is InputWarning]
    is_sent = device.xp is not numpy and not fits
    assert notes == ['0.0 GiB of features do not fit on the GPU; those of each batch are sent '
                     'there'] * is_sent  # fmt: skip
    rows = numpy.array([7, 7, 0], 'int32')
    for index in rows, slice(3, 9):
        features = table[index]
        assert isinstance(features, device.xp.ndarray)
        numpy.testing.assert_array_equal(device.xp.asarray(features).tolist(), FEATURES[index])


def test_values_that_are_too_large_become_infinite(tmp_path):
    values = FEATURES.astype('f8')
    values[3] = 1e300
    numpy.save(tmp_path / 'feats.npy', values)
    with pytest.raises(
        InputError, match=r'feats\.npy: the features of 3.jpg .imgid 3. contain NaN or inf'
    ):
        open_table([tmp_path / 'feats.npy'])


@pytest.mark.parametrize('combine', ['average', 'concatenate'])
def test_combined_features_have_no_further_rows(tmp_path, named, combine):
    numpy.save(tmp_path / 'longer.npy', numpy.vstack([FEATURES, FEATURES]))
    table = open_table([*named, tmp_path / 'longer.npy'], combine)
    both = FEATURES if combine == 'average' else numpy.hstack([FEATURES, FEATURES])
    numpy.testing.assert_array_equal(table[:], both)
    assert table.shape == both.shape
    assert table.source == ExternalSource(['all.h5', 'longer.npy'])


def write_other_size(path):
    save_features(path, numpy.ones((3, SIZE + 1), 'float32'), SOURCE)


def write_other_source(path):
    save_features(path, FEATURES)


@pytest.mark.parametrize(
    'write, message',
    [
        (write_other_size, 'size 6, but .*0.h5 of size 5'),
        (write_other_source, 'not extracted in the same way as .*0.h5'),
        (lambda path: path.write_bytes(b''), 'not a file of features'),
        (lambda path: None, 'No such file'),
    ],
)
def test_files_that_do_not_belong_together_are_rejected(parts, tmp_path, write, message):
    write(tmp_path / 'other.h5')
    with pytest.raises(InputError, match=f'other.h5: .*{message}'):
        open_table([*parts, tmp_path / 'other.h5'])


def test_a_file_that_is_given_twice_is_rejected(parts):
    with pytest.raises(InputError, match='0.h5: is given twice'):
        open_table([parts[0], *parts])


def test_check_images_names_the_first_image_whose_features_are_not_finite(monkeypatch):
    monkeypatch.setattr(table_module, 'BLOCK', 8)
    for value in numpy.nan, numpy.inf, -numpy.inf:
        array = FEATURES.copy()
        array[3, 1] = array[5, 0] = value
        table = FeatureTable(array, path='feats.mat')
        with pytest.raises(InputError, match=r'feats\.mat: .* 3.jpg \(imgid 3\) '):
            table.check_images(make_dataset(), numpy.arange(6))
        assert table.check_images(make_dataset(), numpy.array([0, 1, 2, 4])).all()


def test_check_images_rejects_an_imgid_without_features():
    table = FeatureTable(FEATURES[:11], path='feats.mat')
    table.check_images(make_dataset(), numpy.array([0, 10]))
    with pytest.raises(InputError, match=r'feats\.mat: .* 11 images.*imgid 11'):
        table.check_images(make_dataset(), numpy.array([0, 11]))


def test_images_without_features_are_left_out_and_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(table_module, 'BLOCK', 8)
    array = FEATURES.copy()
    array[[3, 7]] = numpy.nan
    save_features(tmp_path / 'feats.h5', array, SOURCE, NAMES)
    note = 'feats.h5: 2 of 12 images have no features and are left out, the first is 3.jpg'
    with pytest.warns(InputWarning, match=note):
        table = open_table([tmp_path / 'feats.h5'])
    assert table.left_out.tolist() == [3, 7]
    save_features(tmp_path / 'feats.h5', numpy.nan * array, SOURCE, NAMES)
    with (
        pytest.raises(InputError, match='feats.h5: no image has features'),
        pytest.warns(InputWarning),
    ):
        open_table([tmp_path / 'feats.h5'])


@pytest.mark.parametrize(
    'array, note',
    [
        (numpy.tile(FEATURES[:1], (N_IMAGES, 1)), 'the features of all images are the same'),
        (FEATURES * (numpy.arange(N_IMAGES) % 3 > 0)[:, None], 'of 4 of 12 images are all zero'),
    ],
)
def test_features_that_say_nothing_are_noted(monkeypatch, array, note):
    monkeypatch.setattr(table_module, 'BLOCK', 8)
    with pytest.warns(InputWarning, match=f'feats.mat: .*{note}'):
        FeatureTable(array, path='feats.mat').check_images(make_dataset(), numpy.arange(N_IMAGES))


def test_mean_and_inverse_std_standardize_the_given_images(monkeypatch):
    monkeypatch.setattr(table_module, 'BLOCK', 8)
    array = numpy.hstack([5 * FEATURES + 3, numpy.full((N_IMAGES, 1), 7)]).astype('float32')
    imgids = numpy.array([0, 2, 3, 5, 11])
    mean, inverse_std = FeatureTable(array).mean_and_inverse_std(imgids)
    standardized = (array[imgids] - mean) * inverse_std
    numpy.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-6)
    numpy.testing.assert_allclose(standardized.std(axis=0), [1] * SIZE + [0], atol=1e-5)
