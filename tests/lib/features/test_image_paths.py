import os
import unicodedata

import pytest

from lib.errors import InputError, InputWarning
from lib.features import image_paths
from lib.features.image_paths import find_images, locate_images


def test_finds_images_in_files_folders_and_lists_in_order(tmp_path):
    for name in 'b.JPG', 'a.png', '.hidden.jpg', 'best.h5', 'paper.pdf':
        (tmp_path / name).touch()
    (tmp_path / 'notes.txt').write_text(f'\n{tmp_path}/odd.name \n\n')
    (tmp_path / 'more').mkdir()
    (tmp_path / 'more' / 'c.jpg').touch()
    (tmp_path / 'more' / 'circle').symlink_to(tmp_path)
    (tmp_path / 'linked.jpg').symlink_to('a.png')
    with pytest.warns(InputWarning) as warned:
        images = find_images([f'{tmp_path}/best.h5', str(tmp_path)], [str(tmp_path / 'notes.txt')])
    assert images == [
        f'{tmp_path}/best.h5',
        f'{tmp_path}/a.png',
        f'{tmp_path}/b.JPG',
        f'{tmp_path}/linked.jpg',
        f'{tmp_path}/more/c.jpg',
        f'{tmp_path}/odd.name',
    ]
    note = 'left out files that are not images by their suffix: 1 .h5, 1 .txt, 1 .pdf'
    assert str(warned[0].message) == note


def test_files_that_are_left_out_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(image_paths, 'HAS_HEIF', False)
    for name in 'a.jpg', 'b.HEIC', 'c.heic', 'd':
        (tmp_path / name).touch()
    note = '2 .heic, 1 without suffix; to read .heic and .heif, pip install pillow-heif'
    with pytest.warns(InputWarning, match=note):
        assert find_images([str(tmp_path)]) == [f'{tmp_path}/a.jpg']


def test_home_folders_in_lists_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'list.txt').write_text('~/a.jpg\n')
    assert find_images([], [str(tmp_path / 'list.txt')]) == [f'{tmp_path}/a.jpg']


def make_files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_images_are_found_where_their_names_lead(tmp_path):
    make_files(tmp_path, 'a.jpg', 'store/b.jpg', 'more/a.jpg')
    (tmp_path / 'train2014').symlink_to('store')
    (tmp_path / 'c.jpg').symlink_to('a.jpg')
    names = ['a.jpg', 'train2014/b.jpg', 'c.jpg', 'none.jpg']
    paths = [os.path.join(tmp_path, name) for name in names[:3]]
    assert locate_images(str(tmp_path), names) == [*paths, None]
    for name in '../b.jpg', '/b.jpg', 'a/../../rooted/b.jpg':
        with pytest.raises(InputError, match=f'{name}: is not below'):
            locate_images(str(tmp_path), ['a.jpg', name])


def test_images_are_found_in_the_folder_that_their_annotations_name(tmp_path):
    make_files(tmp_path, 'train2017/1.jpg', 'train2017/2.jpg', 'val2017/1.jpg', 'val2017/3.jpg')
    files = ['captions_train2017.json', 'captions_train2017.json', 'captions_val2017.json']
    assert locate_images(str(tmp_path), ['1.jpg', '3.jpg', '1.jpg'], files) == [
        f'{tmp_path}/train2017/1.jpg', None, f'{tmp_path}/val2017/1.jpg',
    ]  # fmt: skip
    # Found by name, if only one file has it.
    assert locate_images(str(tmp_path), ['3.jpg']) == [f'{tmp_path}/val2017/3.jpg']
    with pytest.raises(InputError, match='1.jpg is in several folders, as train2017/1.jpg and val'):
        locate_images(str(tmp_path), ['1.jpg'])
    assert locate_images(str(tmp_path), ['test/3.jpg']) == [None]


def test_a_folder_that_is_only_called_like_a_list_does_not_count(tmp_path):
    make_files(tmp_path, 'captions/captions.csv', 'images/val/1.jpg')
    assert locate_images(str(tmp_path), ['1.jpg'], ['captions/captions.csv']) == [
        f'{tmp_path}/images/val/1.jpg'
    ]


@pytest.mark.parametrize('form, other', [('NFC', 'NFD'), ('NFD', 'NFC')])
def test_names_in_another_normal_form_are_found(tmp_path, form, other):
    name = unicodedata.normalize(form, 'val/café.jpg')
    make_files(tmp_path, name)
    (path,) = locate_images(str(tmp_path), [unicodedata.normalize(other, name)])
    assert path == f'{tmp_path}/{name}'


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
