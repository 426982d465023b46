import json
import os

import pytest

from lib.errors import InputError
from lib.files.output import check_outputs, open_output, write_json
from tests.helpers.scripts import run_python


def test_open_output_replaces_the_file_at_the_end(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_text('old')
    with open_output(path) as file:
        assert sorted(os.listdir(tmp_path)) == ['file.txt', 'file.txt.tmp']
        file.write(b'new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['file.txt']


def test_open_output_creates_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in 'a/b/file.txt', 'file.txt':
        with open_output(path) as file:
            file.write(b'new')
        assert (tmp_path / path).read_text() == 'new'


@pytest.mark.parametrize('exception', [ValueError, KeyboardInterrupt])
def test_open_output_keeps_the_old_file_after_an_exception(tmp_path, exception):
    path = tmp_path / 'file.txt'
    path.write_text('old')
    with pytest.raises(exception), open_output(path) as file:
        file.write(b'half')
        raise exception
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['file.txt']


def test_open_output_replaces_the_file_that_a_link_names(tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'link.txt').symlink_to(tmp_path / 'folder' / 'file.txt')
    with open_output(tmp_path / 'link.txt') as file:
        file.write(b'new')
    assert (tmp_path / 'link.txt').is_symlink()
    assert (tmp_path / 'folder' / 'file.txt').read_text() == 'new'


# Is killed while it writes a file.
WRITE_AND_DIE = """
import os, signal, sys
import lib
from lib.files.output import open_output
with open_output(sys.argv[1]) as file:
    file.write(b'half')
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_temporary_file_of_a_killed_process_is_overwritten(tmp_path):
    path = tmp_path / 'file.txt'
    run_python(WRITE_AND_DIE, path)
    assert (tmp_path / 'file.txt.tmp').read_text() == 'half'
    check_outputs([path])
    with open_output(path) as file:
        file.write(b'new')
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['file.txt']


def test_errors_in_the_block_that_name_another_file_are_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, open_output(tmp_path / 'file.txt'):
        os.remove(tmp_path / 'other.txt')
    assert raised.value.filename == str(tmp_path / 'other.txt')


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
    except OSError as error:
        assert error.filename == path and error.strerror == 'File too large', error
        assert open(path).read() == 'old'
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
        n_failures += 1
print(n_failures, open(path, 'rb').read(13))
"""


def test_a_full_disk_keeps_the_old_file(tmp_path):
    (tmp_path / 'model.h5').write_text('old')
    process = run_python(WRITE_WITH_LIMIT, tmp_path / 'model.h5')
    assert process.returncode == 0, process.stderr
    n_failures, beginning = process.stdout.split(maxsplit=1)
    assert 70 < int(n_failures) < 112
    assert beginning == "b'show-and-tell'\n"


def check(path):
    check_outputs([path])


def write(path):
    with open_output(path):
        pass


@pytest.mark.parametrize('use', [check, write])
def test_pipes_and_devices_are_refused(tmp_path, use):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'link').symlink_to('/dev/null')
    for path in tmp_path / 'pipe', tmp_path / 'link', '/dev/null', '/dev/full':
        with pytest.raises(InputError, match=f'{path}: is a pipe or a device'):
            use(path)
    assert (tmp_path / 'pipe').is_fifo()
    assert sorted(os.listdir(tmp_path)) == ['link', 'pipe']


@pytest.mark.parametrize('use', [check, write])
def test_outputs_that_cannot_be_written_are_named(tmp_path, use):
    (tmp_path / 'file').write_text('')
    for path in tmp_path, tmp_path / 'file' / 'x', tmp_path / 'new' / ('x' * 252):
        with pytest.raises(OSError) as raised:
            use(path)
        assert str(raised.value.filename) == str(path)
    assert not list((tmp_path / 'new').glob('*'))


@pytest.mark.parametrize('path', ['x.txt', 'new/folder/x.txt'])
def test_check_outputs_leaves_nothing_behind(tmp_path, path):
    check_outputs([tmp_path / path])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    'names, message',
    [
        (['a', 'b/../a'], 'a: is the path of two outputs'),
        (['input'], 'input: is also an input'),
        (['link'], 'link: is also an input'),
        (['hard_link'], 'hard_link: is also an input'),
        (['temporary'], 'temporary.tmp: is also an input'),
    ],
)
def test_outputs_in_each_others_way_are_refused(tmp_path, names, message):
    (tmp_path / 'b').mkdir()
    (tmp_path / 'input').write_text('')
    (tmp_path / 'temporary.tmp').write_text('')
    (tmp_path / 'link').symlink_to('input')
    os.link(tmp_path / 'input', tmp_path / 'hard_link')
    inputs = [tmp_path / name for name in ('input', 'temporary.tmp', 'none', 'null\0')]
    with pytest.raises(InputError, match=message):
        check_outputs([tmp_path / name for name in names], inputs)


def test_write_json_keeps_any_text(tmp_path):
    content = {'caption': 'a café 犬', 'path': os.fsdecode(b'name_\xff.jpg'), 'log_prob': -1.5}
    write_json(tmp_path / 'file.json', content)
    text = (tmp_path / 'file.json').read_text(encoding='utf-8')
    assert 'a café 犬' in text
    assert json.loads(text) == content
