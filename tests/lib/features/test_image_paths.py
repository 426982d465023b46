import pytest

from lib.errors import InputError
from lib.features.image_paths import find_images


def test_finds_images_in_files_folders_and_lists_in_order(tmp_path):
    for name in 'b.JPG', 'a.png', '.hidden.jpg', 'best.h5', 'paper.pdf':
        (tmp_path / name).touch()
    (tmp_path / 'notes.txt').write_text(f'\n{tmp_path}/odd.name \n\n')
    assert find_images(['x.jpg', str(tmp_path)], [str(tmp_path / 'notes.txt')]) == [
        'x.jpg',
        f'{tmp_path}/a.png',
        f'{tmp_path}/b.JPG',
        f'{tmp_path}/odd.name',
    ]


def test_finding_no_images_is_an_error(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        find_images([str(tmp_path)], [])


def test_an_empty_list_is_named(tmp_path):
    for content in b'', b'\n \n', b'\xef\xbb\xbf':
        (tmp_path / 'empty.txt').write_bytes(content)
        with pytest.raises(InputError, match='no images in .*empty.txt'):
            find_images([], [str(tmp_path / 'empty.txt')])


def test_lists_may_begin_with_a_byte_order_mark_and_hold_any_line(tmp_path):
    (tmp_path / 'list.txt').write_text('\ufeffa.jpg\r\nb\0c.jpg\n' + 'x' * 5000, encoding='utf-8')
    assert find_images([], [str(tmp_path / 'list.txt')]) == ['a.jpg', 'b\0c.jpg', 'x' * 5000]
