import os

import pytest

from lib.errors import InputError
from lib.files.input import check_input, join_below, read_utf8


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: os.symlink('/dev/zero', path)])
def test_what_is_no_file_is_refused_as_input(tmp_path, make):
    make(tmp_path / 'input')
    with pytest.raises(OSError, match='input'):
        check_input(tmp_path / 'input')


def test_only_text_in_utf_8_is_read(tmp_path):
    path = tmp_path / 'text'
    with pytest.raises(InputError, match='text: No such file'):
        read_utf8(path)
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(InputError, match='text: not a text file in UTF-8'):
        read_utf8(path)
    path.write_bytes(b'\xef\xbb\xbfa\r\nb')
    assert read_utf8(path) == 'a\nb'


def test_join_below_refuses_names_that_lead_out_of_the_folder(tmp_path):
    (tmp_path / 'root').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'root')
    assert join_below(tmp_path / 'link', 'a/../b.jpg') == str(tmp_path / 'link' / 'a/../b.jpg')
    for name in '../b.jpg', '/b.jpg', 'a/../../rooted/b.jpg':
        with pytest.raises(InputError, match='is not below'):
            join_below(tmp_path / 'link', name)
