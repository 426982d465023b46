import os

import numpy
import pytest

from lib.errors import InputError
from lib.features.partial_file import PartialFeatures

# Of the files of the images.
SIZES = numpy.arange(6) + 100
FEATURES = numpy.arange(12, dtype='float32').reshape(4, 3)


@pytest.fixture
def path(tmp_path):
    """A file with the features of images 0, 2 and 5 of 6, added in two calls."""
    partial = PartialFeatures(tmp_path / 'feats.mat', SIZES, {'layer': 'fc7'})
    partial.put(numpy.array([5]), FEATURES[3:])
    partial.put(numpy.array([0, 2]), FEATURES[[0, 2]])
    return tmp_path / 'feats.mat.partial'


def reopen(path, layer='fc7', rank=0, sizes=SIZES):
    return PartialFeatures(str(path).removesuffix('.partial'), sizes, {'layer': layer}, rank)


def images_in(partial):
    return numpy.flatnonzero(partial.done).tolist()


def test_features_are_kept(path):
    partial = reopen(path)
    assert images_in(partial) == [0, 2, 5]
    features = partial.collect(numpy.array([9, 8, 7, 6, 5, 4]), 10)
    numpy.testing.assert_array_equal(features[[9, 7, 4]], FEATURES[[0, 2, 3]])
    assert numpy.isnan(features[[0, 1, 2, 3, 5, 6, 8]]).all()
    partial.remove()
    assert os.listdir(path.parent) == []


def test_features_of_several_processes_are_kept(path):
    other = reopen(path, rank=2)
    other.put(numpy.array([1]), FEATURES[1:2])
    (path.parent / 'feats.mat.old.partial').write_text('of somebody else')
    for rank in 0, 1:
        partial = reopen(path, rank=rank)
        assert images_in(partial) == [0, 1, 2, 5]
        features = partial.collect(numpy.arange(6), 6)
        numpy.testing.assert_array_equal(features[[0, 1, 2, 5]], FEATURES)
    partial.remove()
    assert os.listdir(path.parent) == ['feats.mat.old.partial']


def test_every_beginning_of_the_file_can_be_continued(path):
    content = path.read_bytes()
    n_found = set()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        partial = reopen(path)
        done = images_in(partial)
        assert done in ([], [5], [0, 5])
        n_found.add(len(done))
        partial.put(numpy.array([1]), FEATURES[1:2])
        partial = reopen(path)
        assert images_in(partial) == sorted([*done, 1])
        features = partial.collect(numpy.arange(6), 6)
        numpy.testing.assert_array_equal(features[1], FEATURES[1])
    assert n_found == {0, 1, 2}


def test_other_files_are_refused_and_kept(path):
    content = path.read_bytes()
    for other in content[1:], content.replace(b'fc7', b'fc6'), b'something else', b'\n':
        path.write_bytes(other)
        with pytest.raises(InputError, match='feats.mat.partial: .*; delete it or choose another'):
            reopen(path)
        assert path.read_bytes() == other


def test_what_is_damaged_is_dropped(path):
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    partial = reopen(path)
    n_intact = len(images_in(partial))
    assert 0 < n_intact < 3
    partial.put(numpy.array([1]), FEATURES[1:2])
    assert len(images_in(reopen(path))) == n_intact + 1


@pytest.mark.parametrize('n_bytes', [1, 16, 20, 100])
def test_zeros_after_a_power_loss_are_dropped(path, n_bytes):
    content = path.read_bytes()
    path.write_bytes(content + bytes(n_bytes))
    assert images_in(reopen(path)) == [0, 2, 5]
    assert path.read_bytes() == content
    path.write_bytes(bytes(n_bytes))
    assert images_in(reopen(path)) == []


def test_the_folder_is_created(tmp_path):
    partial = reopen(tmp_path / 'new' / 'folder' / 'feats.mat.partial')
    partial.put(numpy.array([1]), FEATURES[1:2])
    assert images_in(reopen(tmp_path / 'new' / 'folder' / 'feats.mat.partial')) == [1]


def test_nothing_is_left_if_nothing_was_extracted(tmp_path):
    assert reopen(tmp_path / 'feats.mat.partial').size is None
    assert os.listdir(tmp_path) == []


def test_features_of_another_size_are_refused(path):
    with pytest.raises(InputError, match='size 3, .* computes 2'):
        reopen(path).put(numpy.array([1]), FEATURES[:1, :2])


def test_features_of_files_that_were_replaced_do_not_count(path):
    sizes = SIZES.copy()
    sizes[2] = 1
    partial = reopen(path, sizes=sizes)
    assert images_in(partial) == [0, 5]
    partial.put(numpy.array([2]), FEATURES[1:2])
    features = reopen(path, sizes=sizes).collect(numpy.arange(6), 6)
    numpy.testing.assert_array_equal(features[[0, 2, 5]], FEATURES[[0, 1, 3]])
