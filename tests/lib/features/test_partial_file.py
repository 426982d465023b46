import os

import numpy
import pytest

from lib.errors import InputError
from lib.features.partial_file import FIRST_LINE, PartialFeatures
from tests.helpers.scripts import run_python

FEATURES = numpy.arange(12, dtype='float32').reshape(4, 3)


@pytest.fixture
def path(tmp_path):
    """A file with the features of images 0, 2 and 5 of 6, added in two calls."""
    with PartialFeatures(tmp_path / 'feats.mat', 6, {'layer': 'fc7'}) as partial:
        partial.put(numpy.array([5]), FEATURES[3:])
        partial.put(numpy.array([0, 2]), FEATURES[[0, 2]])
    return tmp_path / 'feats.mat.partial'


def reopen(path, n_images=6, layer='fc7'):
    return PartialFeatures(str(path).removesuffix('.partial'), n_images, {'layer': layer})


def test_features_are_kept(path):
    with reopen(path) as partial:
        assert numpy.flatnonzero(partial.done).tolist() == [0, 2, 5]
        assert partial.size == 3
        features = numpy.full((10, 3), numpy.nan, 'float32')
        partial.read_into(features, numpy.array([9, 8, 7, 6, 5, 4]))
    numpy.testing.assert_array_equal(features[[9, 7, 4]], FEATURES[[0, 2, 3]])
    assert numpy.isnan(features[[0, 1, 2, 3, 5, 6, 8]]).all()


def test_every_beginning_of_the_file_can_be_continued(path):
    content = path.read_bytes()
    n_found = set()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with reopen(path) as partial:
            done = numpy.flatnonzero(partial.done).tolist()
            assert done in ([], [5], [0, 5])
            n_found.add(len(done))
            partial.put(numpy.array([1]), FEATURES[1:2])
        with reopen(path) as partial:
            assert numpy.flatnonzero(partial.done).tolist() == sorted([*done, 1])
            features = numpy.zeros((6, 3), 'float32')
            partial.read_into(features, numpy.arange(6))
            numpy.testing.assert_array_equal(features[1], FEATURES[1])
    assert n_found == {0, 1, 2}


@pytest.mark.parametrize(
    'header',
    [
        b'{',
        b'[]',
        b'1' * 5000,
        b'[' * 100_000,
        b'{"settings": {"layer": "fc7"}}',
        b'{"settings": {"layer": "fc7"}, "size": 0}',
        b'{"settings": {"layer": "fc7"}, "size": -3}',
        b'{"settings": {"layer": "fc7"}, "size": 1e9}',
        b'{"settings": {"layer": "fc7"}, "size": 100000000000}',
        b'{"settings": {"layer": "fc7"}, "size": "3"}',
        b'{"settings": {"layer": "fc6"}, "size": 3}',
        b'{"settings": {"layer": "fc7"}, "size": 1}',  # the numbers of images make no sense then
    ],
)
def test_other_files_are_refused_and_kept(path, header):
    records = path.read_bytes().split(b'\n', 2)[2]
    damaged = FIRST_LINE + header + b'\n' + records
    for content in damaged, damaged[1:], b'something else', b'\n':
        path.write_bytes(content)
        with pytest.raises(InputError, match='feats.mat.partial: .*; delete it or choose another'):
            reopen(path)
        assert path.read_bytes() == content


def test_nothing_is_left_if_nothing_was_extracted(tmp_path):
    with reopen(tmp_path / 'feats.mat.partial') as partial:
        assert partial.size is None
    assert os.listdir(tmp_path) == []


def test_features_of_another_size_are_refused(path):
    with reopen(path) as partial, pytest.raises(InputError, match='size 3, .* computes 2'):
        partial.put(numpy.array([1]), FEATURES[:1, :2])


def test_a_second_process_is_refused(path):
    with reopen(path):
        process = run_python(
            'import sys\n'
            'from lib.features.partial_file import PartialFeatures\n'
            'PartialFeatures(sys.argv[1], 6, {})\n',
            str(path).removesuffix('.partial'),
        )
    assert 'another process is writing this file' in process.stderr
