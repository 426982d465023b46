import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.files import check_output, open_output, write_json


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


def test_write_json_keeps_any_text(tmp_path):
    content = {'caption': 'a café 犬', 'path': os.fsdecode(b'name_\xff.jpg'), 'log_prob': -1.5}
    write_json(tmp_path / 'file.json', content)
    text = (tmp_path / 'file.json').read_text(encoding='utf-8')
    assert 'a café 犬' in text
    assert json.loads(text) == content
