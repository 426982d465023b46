import io
import os

import pytest

from lib.errors import InputError
from lib.files.input import check_input, read_utf8


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: os.symlink('/dev/zero', path)])
def test_what_is_no_file_is_refused_as_input(tmp_path, make):
    make(tmp_path / 'input')
    with pytest.raises(OSError, match='input'):
        check_input(tmp_path / 'input')


def test_only_text_in_utf_8_is_read(tmp_path):
    path = tmp_path / 'text'
    with pytest.raises(InputError, match='text: No such file'):
        read_utf8(path)
    path.write_bytes('a\nb\nü'.encode('latin-1'))
    with pytest.raises(
        InputError, match='text: line 3 is not .* iconv -f LATIN1 .*text > utf8.txt'
    ):
        read_utf8(path)
    path.write_bytes('a\tb'.encode('utf-16'))
    with pytest.raises(InputError, match='text: is in UTF-16; iconv -f UTF-16 -t UTF-8'):
        read_utf8(path)
    path.write_bytes(b'\xef\xbb\xbfa\r\nb')
    assert read_utf8(path) == 'a\nb'


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr('sys.stdin', io.TextIOWrapper(io.BytesIO('ü\n'.encode())))
    assert read_utf8('-') == 'ü\n'
