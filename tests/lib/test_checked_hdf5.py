import re

import chainer
import h5py
import numpy
import pytest

from lib.checked_hdf5 import CheckedDeserializer, CheckedGroup, DamagedError
from lib.hdf5 import FORMAT_VERSION, write_texts


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / 'file.h5', 'w') as file:
        yield file


def reads(file, *arguments, **options):
    return CheckedGroup(file, FORMAT_VERSION).array('x', *arguments, **options)


def test_arrays_are_converted_to_another_type_of_their_kind(file):
    file['x'] = numpy.arange(3, dtype='>u2')
    array = reads(file, 'int32', ('n',), low=0, below=3)
    assert array.dtype == 'int32'
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    'value, dtype, shape, limits, message',
    [
        (None, 'int32', ('n',), {}, '"x" is missing'),
        (h5py.Empty('i4'), 'int32', ('n',), {}, '"x" does not have 1 dimensions'),
        ([[1]], 'int32', ('n',), {}, '"x" does not have 1 dimensions'),
        ([1, 2], 'int32', (3,), {}, '"x" has size 2, not 3'),
        ([1.5], 'int32', ('n',), {}, '"x" contains float64, not int32'),
        (['text'], 'int32', ('n',), {}, '"x" contains object, not int32'),
        ([True], 'int32', ('n',), {}, '"x" contains bool, not int32'),
        ([1], 'float32', ('n',), {}, '"x" contains int64, not float32'),
        ([2**40], 'int32', ('n',), {}, f'"x" contains {2**40}'),
        ([0, -1], 'int32', ('n',), {'low': 0}, '"x" contains -1; its values are from 0 to'),
        ([0, 9], 'uint8', ('n',), {'low': 0, 'below': 4}, '"x" contains 9; .* from 0 to 3'),
        ([numpy.nan], 'float32', ('n',), {}, '"x" contains NaN or infinite values'),
        ([1e300], 'float32', ('n',), {}, '"x" contains NaN or infinite values'),
    ],
)
def test_other_arrays_are_refused(file, value, dtype, shape, limits, message):
    if value is not None:
        file['x'] = value
    with pytest.raises(DamagedError, match=message):
        reads(file, dtype, shape, **limits)


def test_arrays_that_are_not_in_the_file_are_refused_before_they_are_read(file):
    file.create_dataset('x', (10**12,), 'float32', chunks=(1000,))
    with pytest.raises(DamagedError, match='compressed or incomplete'):
        reads(file, 'float32', ('n',))


def test_sizes_of_one_name_must_agree(file):
    file['x'], file['y'] = [1, 2], [1, 2, 3]
    group = CheckedGroup(file, FORMAT_VERSION)
    group.array('x', 'int32', ('captions',))
    with pytest.raises(DamagedError, match=re.escape('"y" has 3 captions, not 2')):
        group.array('y', 'int32', ('captions',))


@pytest.mark.parametrize('offsets', [[1, 2], [0, 2, 1, 3], [0, 1], [0, 4], [], [-1, 3]])
def test_offsets_must_rise_from_zero_to_the_size(file, offsets):
    file['x'], file['x_offsets'] = [7, 8, 9], numpy.array(offsets, 'int64')
    group = CheckedGroup(file, FORMAT_VERSION)
    group.array('x', 'int32', ('values',))
    with pytest.raises(DamagedError, match='x_offsets'):
        group.offsets('x_offsets', 'parts', 'values')


def test_texts_must_be_utf_8(file):
    write_texts(file, 'x', ['naïve'])
    file['x'][3] = 0xFF
    with pytest.raises(ValueError, match='utf-8'):
        CheckedGroup(file, FORMAT_VERSION).texts('x', 'images')


class Values(chainer.Link):
    def __init__(self, **values):
        super().__init__()
        self.values = values

    def serialize(self, serializer):
        self.values = {name: serializer(name, value) for name, value in self.values.items()}


@pytest.mark.parametrize(
    'expected, stored, message',
    [
        (0, -1, '"x" contains -1'),
        (0, 1.5, 'contains float64'),
        (0.0, numpy.inf, 'NaN or infinite'),
        (True, 2, 'contains int64, not bool'),
        (numpy.zeros(3, 'f'), numpy.zeros(4, 'f'), 'has size 4, not 3'),
        (numpy.zeros(1, 'f'), numpy.array([numpy.nan]), 'NaN or infinite'),
    ],
)
def test_deserializer_reads_only_what_is_like_the_value_it_replaces(
    file, expected, stored, message
):
    file['x'] = stored
    with pytest.raises(DamagedError, match=message):
        CheckedDeserializer(CheckedGroup(file, FORMAT_VERSION)).load(Values(x=expected))
