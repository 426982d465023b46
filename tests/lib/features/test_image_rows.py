"""Features in every format are arranged by image, or refused."""

import os
import unicodedata

import h5py
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.captions.dataset import CaptionDataset
from lib.captions.readers import CaptionedImage
from lib.errors import InputError, InputWarning
from lib.features.feature_source import ExternalSource
from lib.features.table import FeatureTable
from lib.features.writer import save_features
from lib.files.hdf5 import write_texts

SIZE, N_IMAGES = 6, 9
NAMES = [f'val/{n}_a.jpg' for n in range(N_IMAGES)]
# In another order than the images of the data set, whose imgid they belong to.
FEATURES = numpy.random.RandomState(0).randn(N_IMAGES, SIZE).astype('float32')
ROWS = numpy.array([4, 0, 8, 2, 6, 1, 3, 7, 5])


def make_dataset(names=NAMES, cocoids=None):
    """Returns a data set whose images are in the reverse order of their ``imgid``."""
    cocoids = [-1] * len(names) if cocoids is None else cocoids
    images = [
        CaptionedImage(imgid, cocoids[imgid], names[imgid], 'train', [['a', 'dog']], ['a dog'])
        for imgid in reversed(range(len(names)))
    ]
    return CaptionDataset.from_images(images, min_count=1)


# Of files without names.
pytestmark = pytest.mark.filterwarnings('ignore:.*features are unnamed')


def load(paths, dataset=None, images=None, combine=None):
    dataset = dataset or make_dataset()
    images = numpy.arange(len(dataset.imgid)) if images is None else images
    paths = [str(path) for path in (paths if isinstance(paths, list) else [paths])]
    return FeatureTable.open(paths, dataset, images, combine)


def write(path, features=FEATURES, names=NAMES, ids=None):
    """Writes features with names, or ids if there are any, in the format that the name says."""
    _, kind, suffix = path.name.rsplit('.', 2)
    keys = {'filenames': numpy.array(names)} if ids is None else {'ids': numpy.array(ids)}
    if suffix == 'npz':
        save = numpy.savez_compressed if kind == 'compressed' else numpy.savez
        save(path, features=numpy.asfortranarray(features) if kind == 'F' else features, **keys)
    elif kind == 'ours':
        save_features(path, features, names=names)
    else:
        with h5py.File(path, 'w') as file:
            if kind == 'keyed':
                for key, vector in zip(names if ids is None else map(str, ids), features):
                    file[key] = vector
                return
            file['features'] = features
            if ids is not None:
                file['ids'] = ids
            elif kind == 'fixed':
                file['filenames'] = numpy.array(names, 'S')
            elif kind == 'bytes':
                write_texts(file, 'filenames', names)
            else:
                file['filenames'] = names


FORMATS = [
    *('a.C.npz', 'a.F.npz', 'a.compressed.npz', 'a.keyed.h5', 'a.fixed.h5', 'a.bytes.h5'),
    *('a.variable.h5', 'a.ours.h5', 'a.ours.mat'),
]  # fmt: skip
FORMATS_WITH_IDS = [name for name in FORMATS if 'ours' not in name]


@pytest.mark.parametrize('name', FORMATS)
def test_rows_are_found_by_name(tmp_path, name):
    extra = numpy.ones((1, SIZE), 'float32')  # of an image that the data set does not have
    names = [NAMES[row] for row in ROWS]
    write(tmp_path / name, numpy.vstack([FEATURES[ROWS], extra]), [*names, 'other.jpg'])
    features = load(tmp_path / name)
    numpy.testing.assert_array_equal(features[:], FEATURES)
    assert features.source == (None if 'ours' in name else ExternalSource([name]))


@pytest.mark.parametrize('cocoids', [None, numpy.arange(N_IMAGES)[::-1] * 1000 + 7])
@pytest.mark.parametrize('name', FORMATS_WITH_IDS)
def test_rows_are_found_by_id(tmp_path, name, cocoids):
    ids = numpy.arange(N_IMAGES) if cocoids is None else cocoids
    write(tmp_path / name, FEATURES[ROWS], ids=ids[ROWS])
    features = load(tmp_path / name, make_dataset(cocoids=cocoids))
    numpy.testing.assert_array_equal(features[:], FEATURES)


def test_rows_without_names_are_those_of_each_imgid(tmp_path):
    values = numpy.random.RandomState(0).randn(N_IMAGES + 2, SIZE)
    numpy.save(tmp_path / 'a.npy', values)
    numpy.savez(tmp_path / 'a.npz', feats=values)
    for name in 'a.npy', 'a.npz':
        features = load(tmp_path / name)
        numpy.testing.assert_array_equal(features[:], values.astype('float32'))
        assert features.source.files == [name]


@pytest.mark.parametrize(
    'shorten, n_warnings',
    [
        (lambda name: name.removesuffix('.jpg'), 0),
        (lambda name: f'{name.removesuffix(".jpg")}.PNG', 0),
        (os.path.basename, 1),
        (lambda name: f'data/images/{os.path.basename(name)}', 1),
        (lambda name: os.path.basename(name).removesuffix('.jpg'), 1),
    ],
)
@pytest.mark.parametrize('name', ['a.C.npz', 'a.keyed.h5'])
def test_names_may_lack_folder_and_suffix(tmp_path, recwarn, name, shorten, n_warnings):
    write(tmp_path / name, FEATURES[ROWS], [shorten(NAMES[row]) for row in ROWS])
    numpy.testing.assert_array_equal(load(tmp_path / name)[:], FEATURES)
    assert [str(warning.message) for warning in recwarn if warning.category is InputWarning] == [
        f'{tmp_path / name}: images are found by the names of their files without folders'
    ] * n_warnings


def test_a_name_with_its_folder_is_not_that_of_another_folder(tmp_path):
    others = [name.replace('val', 'train') for name in NAMES]
    write(tmp_path / 'a.C.npz', numpy.vstack([FEATURES + 1, FEATURES]), others + NAMES)
    numpy.testing.assert_array_equal(load(tmp_path / 'a.C.npz')[:], FEATURES)


@given(st.lists(st.integers(0, 3), min_size=N_IMAGES, max_size=N_IMAGES), st.randoms())
def test_any_parts_in_any_order_give_the_same(tmp_path_factory, part_of, random):
    folder, paths = tmp_path_factory.mktemp('parts'), []
    for number, name in enumerate(['C.npz', 'keyed.h5', 'F.npz', 'fixed.h5']):
        rows = [row for row in range(N_IMAGES) if part_of[row] == number]
        random.shuffle(rows)
        if rows:
            paths.append(folder / f'{number}.{name}')
            write(paths[-1], FEATURES[rows], [NAMES[row] for row in rows])
    random.shuffle(paths)
    numpy.testing.assert_array_equal(load(paths)[:], FEATURES)


def write_shards(folder):
    """Writes two files as extract_features.py does, in MATLAB 5 and HDF5."""
    for path, rows in ((folder / 'a.ours.h5', slice(4)), (folder / 'b.ours.mat', slice(4, None))):
        write(path, FEATURES[rows], NAMES[rows])
    return [folder / 'a.ours.h5', folder / 'b.ours.mat']


def test_shards_in_the_wrong_order_are_put_right(tmp_path):
    paths = write_shards(tmp_path)
    for order in paths, paths[::-1]:
        numpy.testing.assert_array_equal(load(order)[:], FEATURES)


@pytest.mark.parametrize('name', ['a.C.npz', 'a.ours.h5'])
def test_images_that_are_not_needed_may_be_missing(tmp_path, name):
    write(tmp_path / name, FEATURES[5:][::-1], NAMES[5:][::-1])
    images = numpy.array([0, 2])  # imgid 8 and 6
    features = load(tmp_path / name, images=images)
    numpy.testing.assert_array_equal(features[5:], FEATURES[5:])
    assert numpy.isnan(features[:5]).all()
    with pytest.raises(InputError) as raised:
        load(tmp_path / name)
    assert str(raised.value) == (
        f'{tmp_path / name}: no features of 5 of the 9 images needed: val/4_a.jpg, val/3_a.jpg, '
        f'val/2_a.jpg, ...; filenames in {tmp_path / name} begins with val/8_a.jpg, val/7_a.jpg, '
        'val/6_a.jpg'
    )


def test_images_with_the_same_name_must_be_in_order(tmp_path):
    names = ['a.jpg', 'b.jpg', 'a.jpg']
    dataset = make_dataset(names)
    for part, rows in ('a', slice(2)), ('b', slice(2, 3)):
        write(tmp_path / f'{part}.ours.h5', FEATURES[rows], names[rows])
    paths = [tmp_path / 'a.ours.h5', tmp_path / 'b.ours.h5']
    numpy.testing.assert_array_equal(load(paths, dataset)[:], FEATURES[:3])
    with pytest.raises(InputError, match='no features of 2 of the 3 .*have the same name'):
        load(paths[::-1], dataset)


def test_names_that_occur_twice_are_rejected(tmp_path):
    write(tmp_path / 'a.C.npz', FEATURES[:3], [NAMES[0], NAMES[1], NAMES[1]])
    with pytest.raises(InputError, match=r'npz: has features of val/1_a.jpg more than once'):
        load(tmp_path / 'a.C.npz')


def test_ids_that_two_images_have_name_neither(tmp_path):
    cocoids = numpy.arange(N_IMAGES) + 3
    cocoids[1] = cocoids[0]
    write(tmp_path / 'a.C.npz', ids=numpy.arange(N_IMAGES) + 3)
    dataset = make_dataset(cocoids=cocoids)
    with pytest.raises(
        InputError, match='no features of 2 of the 9 images needed: val/1_a.jpg, val/0'
    ):
        load(tmp_path / 'a.C.npz', dataset)
    images = numpy.arange(N_IMAGES - 2)  # imgid 8 to 2
    numpy.testing.assert_array_equal(load(tmp_path / 'a.C.npz', dataset, images)[2:], FEATURES[2:])


def test_ids_that_are_numbers_of_files_are_told_from_imgid(tmp_path):
    dataset = make_dataset([f'{n}.jpg' for n in (5, 6, 7)])
    write(tmp_path / 'a.C.npz', FEATURES[:3], ids=[7, 5, 6])
    numpy.testing.assert_array_equal(load(tmp_path / 'a.C.npz', dataset)[:], FEATURES[[1, 2, 0]])
    dataset = make_dataset([f'{n}.jpg' for n in (0, 10, 1, 2)])
    write(tmp_path / 'b.C.npz', FEATURES[:4], ids=[0, 1, 2, 10])
    numpy.testing.assert_array_equal(load(tmp_path / 'b.C.npz', dataset)[:], FEATURES[[0, 3, 1, 2]])
    dataset = make_dataset([f'{n}.jpg' for n in (0, 2, 1)])
    write(tmp_path / 'c.C.npz', FEATURES[:3], ids=[0, 1, 2])
    with pytest.raises(InputError, match='ids may be imgid, or the numbers of files such as 1.jpg'):
        load(tmp_path / 'c.C.npz', dataset)


def test_ids_under_another_name_are_noted(tmp_path):
    numpy.savez(tmp_path / 'a.npz', features=FEATURES[ROWS], rank=ROWS)
    with pytest.warns(
        InputWarning, match='a.npz: rows are those of the images whose ids are in rank'
    ):
        numpy.testing.assert_array_equal(load(tmp_path / 'a.npz')[:], FEATURES)


def test_names_in_another_normal_form_match(tmp_path):
    names = [name.replace('a', 'e\u0301') for name in NAMES]
    write(tmp_path / 'a.C.npz', FEATURES[ROWS], [names[row] for row in ROWS])
    dataset = make_dataset([unicodedata.normalize('NFC', name) for name in names])
    numpy.testing.assert_array_equal(load(tmp_path / 'a.C.npz', dataset)[:], FEATURES)


def test_of_several_arrays_the_one_that_names_images_counts(tmp_path):
    names = numpy.array(NAMES)[ROWS]
    numpy.savez(tmp_path / 'a.npz', features=FEATURES[ROWS], split=['val'] * 9, path=names)
    numpy.testing.assert_array_equal(load(tmp_path / 'a.npz')[:], FEATURES)
    numpy.savez(tmp_path / 'b.npz', features=FEATURES[ROWS], path=names, index=ROWS)
    numpy.testing.assert_array_equal(load(tmp_path / 'b.npz')[:], FEATURES)
    numpy.savez(tmp_path / 'c.npz', features=FEATURES[ROWS], path=names, index=numpy.arange(9))
    with pytest.raises(
        InputError, match='c.npz: path and index disagree on row 0: val/4_a.jpg and 0'
    ):
        load(tmp_path / 'c.npz')
    for keys in [f'{n}.png' for n in range(9)], numpy.arange(100, 109):
        numpy.savez(tmp_path / 'd.npz', features=FEATURES, image_ids=keys)
        with pytest.raises(
            InputError, match='no features of 9 of the 9 .*; image_ids in .* begins'
        ):
            load(tmp_path / 'd.npz')


def test_rows_without_names_are_noted(tmp_path):
    numpy.save(tmp_path / 'a.npy', FEATURES)
    with pytest.warns(
        InputWarning, match='a.npy: features are unnamed: taken in the order of imgid'
    ):
        load(tmp_path / 'a.npy')
    numpy.save(tmp_path / 'a.npy', numpy.vstack([FEATURES, FEATURES[:2]]))
    with pytest.warns(InputWarning, match='which has 9 images; 2 rows at the end are not used'):
        load(tmp_path / 'a.npy')


@pytest.mark.parametrize('size', [6, 12])
def test_the_transpose_of_features_is_refused(tmp_path, size):
    numpy.save(tmp_path / 'a.npy', numpy.ones((size, N_IMAGES)))
    with pytest.raises(InputError, match=f'has {size} rows of 9 .* 9 images; save the transpose'):
        load(tmp_path / 'a.npy')


def test_a_row_for_each_caption_is_refused(tmp_path):
    images = [
        CaptionedImage(n, -1, name, 'train', [['a', 'dog']] * 5, ['a dog'] * 5)
        for n, name in enumerate(NAMES)
    ]
    numpy.save(tmp_path / 'a.npy', numpy.repeat(FEATURES, 5, axis=0))
    with pytest.raises(InputError, match='has 45 rows, one for each caption; give one for each'):
        load(tmp_path / 'a.npy', CaptionDataset.from_images(images, min_count=1))


@pytest.fixture
def two(tmp_path):
    """Files of the same images, each in an order of its own."""
    write(tmp_path / 'a.C.npz', FEATURES[ROWS], [NAMES[row] for row in ROWS])
    write(tmp_path / 'b.keyed.h5', 3 * FEATURES)
    return [tmp_path / 'a.C.npz', tmp_path / 'b.keyed.h5']


def test_vectors_of_the_same_image_are_combined(tmp_path, two):
    features = load(two, combine='average')
    numpy.testing.assert_allclose(features[:], 2 * FEATURES, rtol=1e-6)
    assert features.source.files == ['a.C.npz', 'b.keyed.h5']
    numpy.save(tmp_path / 'c.npy', FEATURES[:, :2])
    features = load([*two, tmp_path / 'c.npy'], combine='concatenate')
    expected = numpy.hstack([FEATURES, 3 * FEATURES, FEATURES[:, :2]])
    numpy.testing.assert_array_equal(features[:], expected)
    assert load(two[:1], combine='average').shape == (N_IMAGES, SIZE)


@pytest.mark.parametrize('combine', ['average', 'concatenate'])
def test_an_image_that_one_file_leaves_out_is_left_out(tmp_path, two, combine):
    features = FEATURES.copy()
    features[3] = numpy.nan
    write(tmp_path / 'c.C.npz', features)
    with pytest.warns(InputWarning, match='1 of 9 images have no features'):
        table = load([two[0], tmp_path / 'c.C.npz'], combine=combine)
    assert table.left_out.tolist() == [5]  # imgid 3


def test_vectors_of_the_same_image_need_the_flag(tmp_path, two):
    with pytest.raises(InputError, match=r'is needed: .*npz and .*h5 both have') as raised:
        load(two)
    assert raised.value.option == 'combine'
    numpy.save(tmp_path / 'c.npy', FEATURES[:, :2])
    with pytest.raises(InputError, match='average: .* of sizes 6, 2'):
        load([two[0], tmp_path / 'c.npy'], combine='average')
    write(tmp_path / 'd.C.npz', FEATURES[1:], NAMES[1:])
    with pytest.raises(InputError, match='d.C.npz: no features of 1 of the 9 .*: val/0_a.jpg'):
        load([two[0], tmp_path / 'd.C.npz'], combine='average')
    numpy.save(tmp_path / 'e.npy', FEATURES[1:])
    with pytest.raises(InputError, match='e.npy: has features of 8 images'):
        load([two[0], tmp_path / 'e.npy'], combine='concatenate')
    with pytest.raises(InputError, match='e.npy: does not name its images, but other files do'):
        load([two[0], tmp_path / 'e.npy'])
