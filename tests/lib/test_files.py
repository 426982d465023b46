import json
import os

import h5py
import numpy
import pytest

from lib.errors import InputError
from lib.files import atomic_write, read_hdf5, write_hdf5, write_json


def test_atomic_write_replaces_the_file_at_the_end(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_text('old')
    with atomic_write(path) as temporary:
        assert os.path.dirname(temporary) == str(tmp_path)
        with open(temporary, 'w') as file:
            file.write('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['file.txt']


def test_atomic_write_creates_folders(tmp_path):
    path = tmp_path / 'a' / 'b' / 'file.txt'
    with atomic_write(path) as temporary, open(temporary, 'w') as file:
        file.write('new')
    assert path.read_text() == 'new'


def test_atomic_write_takes_a_bare_file_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write('file.txt') as temporary, open(temporary, 'w') as file:
        file.write('new')
    assert os.listdir() == ['file.txt']


@pytest.mark.parametrize('exception', [ValueError, KeyboardInterrupt])
def test_atomic_write_keeps_the_old_file_after_an_exception(tmp_path, exception):
    path = tmp_path / 'file.txt'
    path.write_text('old')
    with pytest.raises(exception), atomic_write(path) as temporary:
        with open(temporary, 'w') as file:
            file.write('half')
        raise exception
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['file.txt']


def test_atomic_write_leaves_nothing_after_an_exception_before_the_first_byte(tmp_path):
    with pytest.raises(ValueError), atomic_write(tmp_path / 'file.txt'):
        raise ValueError
    assert os.listdir(tmp_path) == []


def test_write_json_keeps_any_text(tmp_path):
    content = {'caption': 'a café 犬', 'path': os.fsdecode(b'name_\xff.jpg'), 'log_prob': -1.5}
    write_json(tmp_path / 'file.json', content)
    text = (tmp_path / 'file.json').read_text(encoding='utf-8')
    assert 'a café 犬' in text
    assert json.loads(text) == content


def test_read_hdf5_reads_what_write_hdf5_wrote(tmp_path):
    path = tmp_path / 'captions.h5'
    with write_hdf5(path, 'captions') as file:
        file['tokens'] = numpy.arange(3)
    with read_hdf5(path, 'captions', 'preprocess_vocab.py') as file:
        assert file['tokens'][()].tolist() == [0, 1, 2]
        assert file.attrs['format'] == 'show-and-tell captions 1'
    assert os.listdir(tmp_path) == ['captions.h5']


def read(path, kind='model'):
    """Returns the weights in a file, as a function that reads a model would."""
    with read_hdf5(path, kind, written_by='train.py') as file:
        return file['weights'][()]


def write(path, kind='model', n_weights=5000):
    with write_hdf5(path, kind) as file:
        file['weights'] = numpy.random.RandomState(0).rand(n_weights)


def test_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r'none\.h5: no such file; train\.py writes it'):
        read(tmp_path / 'none.h5')


def test_file_of_another_kind_is_an_input_error(tmp_path):
    write(tmp_path / 'snapshot.h5', 'snapshot')
    with pytest.raises(InputError, match=r'snapshot\.h5: not a model file; train\.py writes one'):
        read(tmp_path / 'snapshot.h5')


def test_foreign_hdf5_file_is_an_input_error(tmp_path):
    with h5py.File(tmp_path / 'foreign.h5', 'w') as file:
        file['weights'] = numpy.ones(3)
    with pytest.raises(InputError, match=r'foreign\.h5: not a model file'):
        read(tmp_path / 'foreign.h5')


@pytest.mark.parametrize('content', [b'', b'text', b'\x89HDF\r\n\x1a\n'])
def test_file_that_is_not_hdf5_is_an_input_error(tmp_path, content):
    (tmp_path / 'model.h5').write_bytes(content)
    with pytest.raises(InputError, match=r'model\.h5: not a model file, or damaged; train\.py'):
        read(tmp_path / 'model.h5')


@pytest.mark.parametrize('share', [0.02, 0.5, 0.99])
def test_file_that_is_cut_short_is_an_input_error(tmp_path, share):
    path = tmp_path / 'model.h5'
    write(path)
    complete = path.read_bytes()
    path.write_bytes(complete[: int(share * len(complete))])
    with pytest.raises(InputError, match=r'model\.h5: not a model file, or damaged'):
        read(path)


def test_incomplete_file_is_an_input_error(tmp_path):
    with write_hdf5(tmp_path / 'model.h5', 'model'):
        pass
    with pytest.raises(InputError, match=r'model\.h5: not a model file, or damaged'):
        read(tmp_path / 'model.h5')


def test_input_errors_of_the_block_pass_read_hdf5(tmp_path):
    write(tmp_path / 'model.h5')
    error = InputError('other settings')
    with (
        pytest.raises(InputError) as raised,
        read_hdf5(tmp_path / 'model.h5', 'model', written_by='train.py'),
    ):
        raise error
    assert raised.value is error
