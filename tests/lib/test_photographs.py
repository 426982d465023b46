import subprocess
import sys

from lib.errors import InputError
from lib.photographs import (
    UnreadablePhotographError,
    find_photographs,
    prepare,
    prepared_photographs,
    read_photograph,
)
from tests.samples import ROOT, write_photograph

import numpy
import pytest
from PIL import Image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def two_halves(mode='RGB', left=RED, right=BLUE):
    image = Image.new(mode, (40, 20), left)
    image.paste(right, (20, 0, 40, 20))
    return image


def assert_halves(image, left, right):
    assert image.mode == 'RGB'
    pixels = numpy.asarray(image).astype(int)
    assert abs(pixels[10, 5] - left).max() <= 12
    assert abs(pixels[10, 35] - right).max() <= 12


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.gif', '.tif', '.webp', '.ppm'])
def test_reads_formats(tmp_path, suffix):
    path = tmp_path / f'photo{suffix}'
    two_halves().save(path)
    assert_halves(read_photograph(path), RED, BLUE)


def test_reads_cmyk_jpeg(tmp_path):
    two_halves().convert('CMYK').save(tmp_path / 'photo.jpg')
    assert_halves(read_photograph(tmp_path / 'photo.jpg'), RED, BLUE)


def test_reads_palettes(tmp_path):
    two_halves().convert('P').save(tmp_path / 'photo.png')
    assert_halves(read_photograph(tmp_path / 'photo.png'), RED, BLUE)


def test_reads_black_and_white_and_grey(tmp_path):
    for mode in '1', 'L':
        two_halves().convert('L').point(lambda v: 255 * (v > 50)).convert(mode).save(
            tmp_path / 'photo.png')
        assert_halves(read_photograph(tmp_path / 'photo.png'), (255,) * 3, (0,) * 3)


def test_reads_16_bit_grey(tmp_path):
    values = numpy.zeros((20, 40), 'uint16')
    values[:, :20] = 257 * 100
    Image.fromarray(values).save(tmp_path / 'photo.png')
    assert_halves(read_photograph(tmp_path / 'photo.png'), (100,) * 3, (0,) * 3)


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_lays_transparency_over_white(tmp_path, mode):
    opaque, clear = ((*RED, 255), (*BLUE, 0)) if mode == 'RGBA' else ((90, 255), (10, 0))
    two_halves(mode, opaque, clear).save(tmp_path / 'photo.png')
    assert_halves(read_photograph(tmp_path / 'photo.png'),
                  RED if mode == 'RGBA' else (90,) * 3, (255,) * 3)


def test_lays_a_transparent_palette_colour_over_white(tmp_path):
    image = two_halves().convert('P', palette=Image.Palette.ADAPTIVE, colors=2)
    image.save(tmp_path / 'photo.png', transparency=image.getpixel((30, 10)))
    assert_halves(read_photograph(tmp_path / 'photo.png'), RED, (255,) * 3)


def test_turns_pictures_as_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3    # upside down
    two_halves().save(tmp_path / 'photo.jpg', exif=exif)
    assert_halves(read_photograph(tmp_path / 'photo.jpg'), BLUE, RED)


@pytest.mark.parametrize('damage', ['missing', 'empty', 'text', 'truncated', 'folder'])
def test_names_what_it_cannot_read(tmp_path, damage):
    path = tmp_path / 'photo.jpg'
    if damage == 'folder':
        path.mkdir()
    elif damage != 'missing':
        whole = write_photograph(path).read_bytes()
        path.write_bytes({'empty': b'', 'text': b'hello', 'truncated': whole[:-300]}[damage])
    with pytest.raises(UnreadablePhotographError, match='photo.jpg') as info:
        read_photograph(path)
    assert '\n' not in str(info.value)


def test_passes_over_unreadable_ones_and_says_so(tmp_path, capsys):
    paths = [write_photograph(tmp_path / 'a.jpg'), tmp_path / 'b.jpg',
             write_photograph(tmp_path / 'c.jpg')]
    assert list(prepared_photographs(paths, lambda image: image.size, 2)) == [
        ([0], [(60, 40)]), ([2], [(60, 40)])]
    error = capsys.readouterr().err
    assert 'b.jpg' in error
    assert error.count('\n') == 1


def test_photographs_are_prepared_in_order_a_chunk_ahead(tmp_path):
    paths = [write_photograph(tmp_path / f'{k}.png', size=(30 + k, 20)) for k in range(8)]
    begun = []

    def prepare(image):
        begun.append(image.width)
        return image.width

    chunks = prepared_photographs(paths, prepare, 2)
    assert next(chunks) == ([0, 1], [30, 31])
    assert len(begun) <= 4
    assert list(chunks) == [([k, k + 1], [30 + k, 31 + k]) for k in (2, 4, 6)]
    assert list(prepared_photographs([], prepare, 2)) == []


def test_an_error_in_a_thread_reaches_the_caller(tmp_path):
    paths = [write_photograph(tmp_path / 'a.jpg')]
    with pytest.raises(ZeroDivisionError):
        list(prepared_photographs(paths, lambda image: 1 / 0, 2))


def test_huge_pictures_are_read_without_warnings(tmp_path):
    code = """
import sys
from PIL import Image
from lib.photographs import read_photograph
Image.MAX_IMAGE_PIXELS = 1500
print(read_photograph(sys.argv[1]).size)
"""
    write_photograph(tmp_path / 'photo.jpg', size=(60, 40))
    process = subprocess.run([sys.executable, '-c', code, tmp_path / 'photo.jpg'], cwd=ROOT,
                             capture_output=True, text=True, check=True)
    assert (process.stdout, process.stderr) == ('(60, 40)\n', '')


def test_finds_files_folders_and_lists_in_order(tmp_path):
    for name in 'b.JPG', 'a.png', '.hidden.jpg', 'best.h5', 'paper.pdf':
        (tmp_path / name).touch()
    (tmp_path / 'notes.txt').write_text(f'\n{tmp_path}/odd.name \n\n')
    assert find_photographs(['x.jpg', str(tmp_path)], [str(tmp_path / 'notes.txt')]) == [
        'x.jpg', f'{tmp_path}/a.png', f'{tmp_path}/b.JPG', f'{tmp_path}/odd.name']


def test_complains_when_there_is_nothing_to_caption(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        find_photographs([str(tmp_path)], [])
    with pytest.raises(InputError, match='--list'):
        find_photographs([], [])
    (tmp_path / 'list').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(InputError, match='UTF-8'):
        find_photographs([], [str(tmp_path / 'list')])


def test_prepare_gives_blue_green_red_less_the_mean():
    pixels = prepare(Image.new('RGB', (30, 20), (10, 20, 30)), 8, [1, 2, 3])
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == 'float32'
    numpy.testing.assert_array_equal(pixels[:, 0, 0], [29, 18, 7])
    assert (pixels == pixels[:, :1, :1]).all()


def test_warp_keeps_the_edges_that_crop_cuts_off():
    image = Image.new('RGB', (120, 40), 'black')
    image.paste('white', (0, 0, 20, 40))
    warped, cropped = (prepare(image, 12, [0, 0, 0], resize) for resize in ('warp', 'crop'))
    assert warped[:, :, 0].min() == 255
    assert cropped.shape == warped.shape
    assert cropped.max() == 0


@pytest.mark.parametrize('size', [(1, 500), (500, 1), (223, 224), (1, 1)])
def test_any_shape_can_be_prepared(size):
    for resize in 'warp', 'crop':
        assert prepare(Image.new('RGB', size), 32, [0, 0, 0], resize).shape == (3, 32, 32)
