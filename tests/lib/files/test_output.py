import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.errors import InputError
from lib.files.output import (
    check_input,
    join_below,
    open_output,
    remove_leftovers,
    replace_together,
    write_json,
    write_json_list,
)
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


def test_outputs_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / 'file').write_text('')
    for path, error in (tmp_path, IsADirectoryError), (tmp_path / 'file' / 'x', NotADirectoryError):
        with pytest.raises(error) as raised:
            write_json(path, [])
        assert raised.value.filename == str(path)
    assert os.listdir(tmp_path) == ['file']


def test_a_pipe_without_a_reader_is_given_up(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / 'pipe')
    monkeypatch.setattr('lib.files.output.SECONDS_FOR_READER', 0.2)
    with pytest.raises(InputError, match='pipe: no other process reads'):
        write_json(tmp_path / 'pipe', [])


def test_write_json_keeps_any_text(tmp_path):
    content = {'caption': 'a café 犬', 'path': os.fsdecode(b'name_\xff.jpg'), 'log_prob': -1.5}
    write_json(tmp_path / 'file.json', content)
    text = (tmp_path / 'file.json').read_text(encoding='utf-8')
    assert 'a café 犬' in text
    assert json.loads(text) == content


@pytest.mark.parametrize('n_items', [0, 1, 3])
@pytest.mark.parametrize('name', ['list.json', 'pipe'])
def test_write_json_list_writes_what_write_json_writes(tmp_path, name, n_items):
    items = [{'image': 'two\nlines 犬', 'captions': [{'log_prob': -1.5}, {}, []]}] * n_items
    write_json(tmp_path / 'expected.json', items)
    os.mkfifo(tmp_path / 'pipe')
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / 'pipe').read_bytes) if name == 'pipe' else None
        with write_json_list(tmp_path / name) as add:
            for item in items:
                add(item)
        written = read.result() if read else (tmp_path / name).read_bytes()
    assert written == (tmp_path / 'expected.json').read_bytes()


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


def test_temporary_files_of_killed_processes_are_removed(tmp_path):
    for name in 'file.txt', 'other.txt':
        run_python(WRITE_AND_DIE, tmp_path / name)
    assert len(os.listdir(tmp_path)) == 2
    with open_output(tmp_path / 'file.txt') as file:
        # The one of this process, and that of the other file.
        assert len(os.listdir(tmp_path)) == 2
        remove_leftovers(tmp_path, '.*')
        assert os.listdir(tmp_path) == [os.path.basename(file.name)]
    assert os.listdir(tmp_path) == ['file.txt']


REMOVE_LEFTOVERS = """
import sys
from lib.files.output import remove_leftovers
remove_leftovers(sys.argv[1], '.*')
"""


def test_files_that_wait_to_be_replaced_together_are_not_leftovers(tmp_path):
    with replace_together():
        write_json(tmp_path / 'a.json', 1)
        run_python(REMOVE_LEFTOVERS, tmp_path)
        write_json(tmp_path / 'b.json', 2)
    assert sorted(os.listdir(tmp_path)) == ['a.json', 'b.json']


def test_without_locks_nothing_is_taken_for_a_leftover(tmp_path, monkeypatch):
    run_python(WRITE_AND_DIE, tmp_path / 'file.txt')
    monkeypatch.setattr('lib.files.output.try_lock', lambda file: None)
    write_json(tmp_path / 'file.txt', 1)
    assert len(os.listdir(tmp_path)) == 2


def test_errors_in_the_block_are_not_those_of_the_output(tmp_path):
    with pytest.raises(OSError, match='elsewhere') as raised, open_output(tmp_path / 'file.txt'):
        raise OSError(5, 'elsewhere')
    assert raised.value.filename is None


def test_files_in_the_memory_of_devices_are_regular(tmp_path):
    """/dev/shm is a folder like any other."""
    if not os.access('/dev/shm', os.W_OK):
        pytest.skip('no /dev/shm')
    path = f'/dev/shm/{tmp_path.name}_{os.getpid()}.json'
    try:
        for content in [1], [2]:
            write_json(path, content)
            with open(path) as file:
                assert json.load(file) == content
    finally:
        os.remove(path)


def test_other_files_are_not_taken_for_temporary_ones(tmp_path):
    names = {
        '.a.tmp',
        'a.0123abcd.tmp',
        '.a.0123abcd.tmp.h5',
        '.a.4711.tmp',
        '.0123abcd.tmp',
        '.tmp',
    }
    for name in names:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, '.*')
    assert set(os.listdir(tmp_path)) == names


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: os.symlink('/dev/zero', path)])
def test_what_is_no_file_is_refused_as_input(tmp_path, make):
    make(tmp_path / 'input')
    with pytest.raises(OSError, match='input'):
        check_input(tmp_path / 'input')


def test_join_below(tmp_path):
    (tmp_path / 'root').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'root')
    assert join_below(tmp_path / 'link', 'a/../b.jpg') == str(tmp_path / 'link' / 'a/../b.jpg')
    for name in '../b.jpg', '/b.jpg', 'a/../../rooted/b.jpg':
        with pytest.raises(InputError, match='is not below'):
            join_below(tmp_path / 'link', name)


def test_files_are_replaced_together_or_not_at_all(tmp_path):
    (tmp_path / 'a.json').write_text('old')
    with replace_together():
        write_json(tmp_path / 'a.json', 1)
        write_json(tmp_path / 'b.json', 2)
        assert (tmp_path / 'a.json').read_text() == 'old'
    assert (tmp_path / 'a.json').read_text() == '1'
    with pytest.raises(NotADirectoryError), replace_together():
        write_json(tmp_path / 'a.json', 3)
        write_json(tmp_path / 'b.json' / 'c.json', 4)
    assert (tmp_path / 'a.json').read_text() == '1'
    assert sorted(os.listdir(tmp_path)) == ['a.json', 'b.json']
