import json
import os
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy
import pytest

from lib.errors import InputError
from lib.files import check_output, open_output, read_hdf5, write_hdf5, write_json
from tests.helpers.scripts import run_python


def test_open_output_replaces_the_file_at_the_end(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_text('old')
    with open_output(path) as file:
        assert os.path.dirname(file.name) == str(tmp_path)
        file.write(b'new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['file.txt']


def test_open_output_creates_folders(tmp_path):
    path = tmp_path / 'a' / 'b' / 'file.txt'
    with open_output(path) as file:
        file.write(b'new')
    assert path.read_text() == 'new'


def test_open_output_takes_a_bare_file_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_output('file.txt') as file:
        file.write(b'new')
    assert os.listdir() == ['file.txt']


@pytest.mark.parametrize('exception', [ValueError, KeyboardInterrupt])
def test_open_output_keeps_the_old_file_after_an_exception(tmp_path, exception):
    path = tmp_path / 'file.txt'
    path.write_text('old')
    with pytest.raises(exception), open_output(path) as file:
        file.write(b'half')
        raise exception
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['file.txt']


def test_open_output_leaves_nothing_after_an_exception_before_the_first_byte(tmp_path):
    with pytest.raises(ValueError), open_output(tmp_path / 'file.txt'):
        raise ValueError
    assert os.listdir(tmp_path) == []


def test_open_output_replaces_the_file_that_a_link_names(tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'link.txt').symlink_to(tmp_path / 'folder' / 'file.txt')
    with open_output(tmp_path / 'link.txt') as file:
        file.write(b'new')
    assert (tmp_path / 'link.txt').is_symlink()
    assert (tmp_path / 'folder' / 'file.txt').read_text() == 'new'


def test_open_output_writes_to_a_pipe_and_leaves_it(tmp_path):
    path = tmp_path / 'pipe'
    os.mkfifo(path)
    with ThreadPoolExecutor() as pool:
        future = pool.submit(path.read_bytes)
        write_json(path, [1])
        assert json.loads(future.result()) == [1]
    assert path.is_fifo()
    assert os.listdir(tmp_path) == ['pipe']


@pytest.mark.parametrize('check', [check_output, lambda path: write_json(path, [])])
def test_outputs_that_cannot_be_written_are_named(tmp_path, check):
    (tmp_path / 'file').write_text('')
    for path, error in (tmp_path, IsADirectoryError), (tmp_path / 'file' / 'x', NotADirectoryError):
        with pytest.raises(error) as raised:
            check(path)
        assert raised.value.filename == str(path)
    assert os.listdir(tmp_path) == ['file']


def test_check_output_leaves_nothing_but_the_folder(tmp_path):
    check_output(tmp_path / 'folder' / 'file')
    assert os.listdir(tmp_path / 'folder') == []


# Writes files of growing size under a limit on their size, as if the disk were full.
WRITE_WITH_LIMIT = """
import os, resource, sys
import lib
import numpy
from lib.files import write_hdf5
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
