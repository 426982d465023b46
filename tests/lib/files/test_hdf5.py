import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy
import pytest

from lib.captions.dataset import CaptionDataset
from lib.errors import InputError
from lib.files.hdf5 import read_hdf5, write_hdf5, write_text, write_texts
from tests.helpers.scripts import ROOT, run_python

# Writes files of growing size under a limit on their size, as if the disk were full.
WRITE_WITH_LIMIT = """
import os, resource, sys
import lib
import numpy
from lib.files.hdf5 import write_hdf5
path = sys.argv[1]
n_failures = 0
for n_bytes in range(100, 60000, 531):
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
    try:
        with write_hdf5(path, 'model') as file:
            for k in range(5):
                file.create_group(f'g{k}')['weights'] = numpy.zeros(1000)
            file['strings'] = ['text' * k for k in range(50)]
    except OSError as error:
        assert error.filename == path and error.strerror == 'File too large', error
        assert open(path).read() == 'old'
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
        n_failures += 1
print(n_failures, open(path, 'rb').read(4))
"""


def test_hdf5_survives_a_full_disk(tmp_path):
    (tmp_path / 'model.h5').write_text('old')
    process = run_python(WRITE_WITH_LIMIT, tmp_path / 'model.h5')
    assert process.returncode == 0, process.stderr
    n_failures, beginning = process.stdout.split(maxsplit=1)
    assert 70 < int(n_failures) < 112
    assert beginning == "b'\\x89HDF'\n"


def test_read_hdf5_reads_what_write_hdf5_wrote(tmp_path):
    path = tmp_path / 'captions.h5'
    with write_hdf5(path, 'captions') as file:
        file['tokens'] = numpy.arange(3)
        write_text(file, 'empty', '')
        write_texts(file, 'texts', ['naïve', '', '犬'])
    with read_hdf5(path, 'captions', 'preprocess_vocab.py') as file:
        assert file.array('tokens', 'int32', ('tokens',)).tolist() == [0, 1, 2]
        assert file.text('empty') == ''
        assert file.texts('texts', 'tokens').tolist() == ['naïve', '', '犬']
    with h5py.File(path) as file:
        assert file.attrs['format'] == b'show-and-tell captions 2'
    assert os.listdir(tmp_path) == ['captions.h5']


def read(path, kind='model'):
    """Returns the weights in a file, as a function that reads a model would."""
    with read_hdf5(path, kind, written_by='train.py') as file:
        return file.array('weights', 'float64', ('weights',))


def write(path, kind='model', n_weights=5000):
    with write_hdf5(path, kind) as file:
        file['weights'] = numpy.random.RandomState(0).rand(n_weights)


def link_softly(file, other):
    file['weights'] = h5py.SoftLink('/other')


def link_externally(file, other):
    file['weights'] = h5py.ExternalLink(other, '/secret')


def store_externally(file, other):
    file.create_dataset('weights', (4,), 'uint8', external=[(other, 0, 4)])


def map_virtually(file, other):
    layout = h5py.VirtualLayout((3,), 'float64')
    layout[:] = h5py.VirtualSource(other, 'secret', (3,))
    file.create_virtual_dataset('weights', layout)


def refer(file, other):
    file['group/references'] = numpy.array([file.ref], h5py.ref_dtype)


@pytest.mark.parametrize(
    'add', [link_softly, link_externally, store_externally, map_virtually, refer]
)
def test_no_file_reaches_another_one(tmp_path, add):
    other, path = str(tmp_path / 'other.h5'), str(tmp_path / 'model.h5')
    with h5py.File(other, 'w') as file:
        file['secret'] = numpy.ones(3)
    write(path)
    with h5py.File(path, 'a') as file:
        del file['weights']
        file['circle'] = file['/']
        add(file, other)
    with pytest.raises(InputError, match='model.h5: "/.*" refers to something else'):
        read(path)


def test_a_pipe_gets_the_whole_file(tmp_path):
    path, copy = tmp_path / 'pipe', tmp_path / 'model.h5'
    os.mkfifo(path)
    with ThreadPoolExecutor() as pool:
        future = pool.submit(path.read_bytes)
        write(path)
        copy.write_bytes(future.result())
    assert len(read(copy)) == 5000


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


def test_damaged_strings_of_version_1_do_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr('lib.files.hdf5.STRINGS_TIME_LIMIT', 2)
    content = bytearray(Path(ROOT, 'tests', 'fixtures', 'captions.h5').read_bytes())
    # The size of the first string in HDF5's heap: with its header of 16 bytes it becomes 0, so that
    # the library looks for the next string at the same place.
    size = content.index(b'GCOL') + 24
    content[size : size + 8] = (2**64 - 16).to_bytes(8, 'little')
    (tmp_path / 'captions.h5').write_bytes(content)
    with pytest.raises(InputError, match='strings cannot be read'):
        CaptionDataset.load(tmp_path / 'captions.h5')
