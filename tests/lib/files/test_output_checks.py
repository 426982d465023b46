import os

import pytest

from lib.errors import InputError
from lib.files.output_checks import check_outputs


def test_outputs_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / 'file').write_text('')
    for path, error in (tmp_path, IsADirectoryError), (tmp_path / 'file' / 'x', NotADirectoryError):
        with pytest.raises(error) as raised:
            check_outputs([path])
        assert raised.value.filename == str(path)
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('name', ['a/' * 2500 + 'b', 'n' * 250])
def test_paths_that_are_too_long_are_refused_before_the_work(tmp_path, name):
    with pytest.raises(OSError, match='File name too long'):
        check_outputs([tmp_path / name])


def test_nothing_is_left_behind(tmp_path):
    check_outputs([tmp_path / 'new' / 'folder' / 'file', tmp_path / 'file'])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    'names, message',
    [
        (['a', 'b/../a'], 'the path of two outputs'),
        (['a', 'a/b/c'], 'an output and the folder'),
        (['input'], 'is also an input'),
        (['link'], 'is also an input'),
    ],
)
def test_outputs_in_each_others_way_are_refused(tmp_path, names, message):
    (tmp_path / 'b').mkdir()
    (tmp_path / 'input').write_text('')
    (tmp_path / 'link').symlink_to('input')
    with pytest.raises(InputError, match=message):
        check_outputs([tmp_path / name for name in names], [tmp_path / 'input', tmp_path / 'none'])


def test_devices_may_be_the_file_of_several_outputs():
    check_outputs(['/dev/null', '/dev/null'], ['/dev/null'])
