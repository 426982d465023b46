import io
import os
import random
import struct
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
from PIL import Image

from lib.features import images
from lib.features.images import UnreadableImageError, prepare_image, read_image
from tests.helpers.samples import write_image
from tests.helpers.scripts import run_python

RED, BLUE = (255, 0, 0), (0, 0, 255)


def make_halves(mode='RGB', left=RED, right=BLUE):
    image = Image.new(mode, (40, 20), left)
    image.paste(right, (20, 0, 40, 20))
    return image


def assert_halves(image, left, right):
    assert image.mode == 'RGB'
    pixels = numpy.asarray(image).astype(int)
    assert abs(pixels[10, 5] - left).max() <= 12
    assert abs(pixels[10, 35] - right).max() <= 12


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.gif', '.tif', '.webp', '.ppm'])
def test_reads_common_formats(tmp_path, suffix):
    path = tmp_path / f'image{suffix}'
    make_halves().save(path)
    assert_halves(read_image(path), RED, BLUE)


def test_reads_what_iphones_write_if_a_package_is_installed(tmp_path):
    pillow_heif = pytest.importorskip('pillow_heif')
    pillow_heif.from_pillow(make_halves()).save(tmp_path / 'image.heic', quality=95)
    assert_halves(read_image(tmp_path / 'image.heic'), RED, BLUE)


def test_a_file_that_shrinks_while_it_is_read_is_unreadable(tmp_path, monkeypatch):
    path = tmp_path / 'image.ppm'  # which Pillow would map
    Image.new('RGB', (2000, 2000)).save(path)

    def shrink_and_convert(image, convert=images._to_rgb):
        os.truncate(path, 100)
        return convert(image)

    monkeypatch.setattr(images, '_to_rgb', shrink_and_convert)
    with pytest.raises(UnreadableImageError, match='image.ppm: '):
        read_image(path)


def test_reads_other_color_modes(tmp_path):
    make_halves().convert('CMYK').save(tmp_path / 'image.jpg')
    assert_halves(read_image(tmp_path / 'image.jpg'), RED, BLUE)
    make_halves().convert('P').save(tmp_path / 'image.png')
    assert_halves(read_image(tmp_path / 'image.png'), RED, BLUE)
    white_and_black = make_halves(left='white', right='black')
    for mode in '1', 'L':
        white_and_black.convert(mode).save(tmp_path / 'image.png')
        assert_halves(read_image(tmp_path / 'image.png'), (255,) * 3, (0,) * 3)


def test_reads_16_bit_grayscale(tmp_path):
    values = numpy.zeros((20, 40), 'uint16')
    values[:, :20] = 257 * 100
    Image.fromarray(values).save(tmp_path / 'image.png')
    assert_halves(read_image(tmp_path / 'image.png'), (100,) * 3, (0,) * 3)


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_transparency_is_laid_over_white(tmp_path, mode):
    opaque, clear = ((*RED, 255), (*BLUE, 0)) if mode == 'RGBA' else ((90, 255), (10, 0))
    make_halves(mode, opaque, clear).save(tmp_path / 'image.png')
    assert_halves(
        read_image(tmp_path / 'image.png'), RED if mode == 'RGBA' else (90,) * 3, (255,) * 3
    )


def test_a_transparent_palette_color_is_laid_over_white(tmp_path):
    image = make_halves().convert('P', palette=Image.Palette.ADAPTIVE, colors=2)
    image.save(tmp_path / 'image.png', transparency=image.getpixel((30, 10)))
    assert_halves(read_image(tmp_path / 'image.png'), RED, (255,) * 3)


def test_transparency_is_composited_like_pillow_does():
    value, alpha = numpy.meshgrid(numpy.arange(256), numpy.arange(256))
    pixels = numpy.stack([value, 255 - value, value, alpha], axis=2).astype('uint8')
    image = Image.fromarray(pixels, 'RGBA')
    white = Image.new('RGBA', image.size, 'white')
    expected = Image.alpha_composite(white, image).convert('RGB')
    numpy.testing.assert_array_equal(read_image(image), expected)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif'])
def test_exif_rotation_is_applied(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 3  # rotated by 180 degrees
    path = tmp_path / f'image{suffix}'
    make_halves().save(path, exif=exif)
    assert_halves(read_image(path), BLUE, RED)


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    make_halves().save(
        tmp_path / 'image.gif', save_all=True, append_images=[make_halves(left=BLUE)]
    )
    assert_halves(read_image(tmp_path / 'image.gif'), RED, BLUE)


def test_values_that_are_no_gray_levels_are_clipped_without_warnings(tmp_path):
    values = numpy.float32([[numpy.nan, -numpy.inf, -1, 100], [numpy.inf, 1e30, 255, 0]])
    Image.fromarray(values).save(tmp_path / 'float.tif')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        gray = numpy.asarray(read_image(tmp_path / 'float.tif'))[:, :, 0]
    numpy.testing.assert_array_equal(gray, [[0, 0, 0, 100], [255, 255, 255, 0]])


def test_an_image_in_memory_stays_as_it_is():
    image = make_halves('RGBA')
    image.getexif()[0x0112] = 3
    before = image.copy()
    assert_halves(read_image(image), BLUE, RED)
    assert image == before


@pytest.mark.parametrize('damage', ['missing', 'empty', 'text', 'truncated', 'folder', 'EPS'])
def test_errors_name_the_unreadable_file(tmp_path, damage):
    path = tmp_path / 'image.jpg'
    if damage == 'folder':
        path.mkdir()
    elif damage == 'EPS':  # which would run a program
        make_halves().save(path, 'EPS')
    elif damage != 'missing':
        whole = write_image(path).read_bytes()
        path.write_bytes({'empty': b'', 'text': b'hello', 'truncated': whole[:-300]}[damage])
    with pytest.raises(UnreadableImageError, match='^[^\n]*image.jpg: [^\n]+$') as info:
        read_image(path)
    # The decoder's error would keep its half-decoded image.
    assert info.value.__context__ is None


@pytest.mark.parametrize(
    'path, reason', [('a\0b.jpg', 'embedded null'), ('x' * 5000 + '.jpg', 'File name too long')]
)
def test_paths_that_no_file_can_have_are_unreadable(path, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(path)


@pytest.mark.filterwarnings('ignore')
def test_damaged_images_are_read_or_unreadable(tmp_path):
    rng = random.Random(0)
    n_read = 0
    n_cases = 0
    for suffix in 'jpg', 'png', 'gif', 'bmp', 'tif', 'webp', 'ppm', 'jp2', 'tga':
        whole = write_image(tmp_path / f'image.{suffix}').read_bytes()
        for _ in range(20):
            content = bytearray(whole)
            for _ in range(rng.choice([1, 3, 9])):
                content[rng.randrange(min(len(content), rng.choice([40, 400])))] = rng.randrange(
                    256
                )
            n_cases += 1
            try:
                n_read += prepare_image(read_image(io.BytesIO(content), 8), 8, [0] * 3).size > 0
            except UnreadableImageError:
                continue
    assert 0 < n_read < n_cases


@pytest.mark.parametrize(
    'size, reason',
    [
        ((60000, 60000), 'image.png: .*3600000000 pixels'),
        ((100_001, 3), 'image.png: too large: 100001 x 3 pixels'),
        ((3, 100_001), 'image.png: too large: 3 x 100001 pixels'),
    ],
)
def test_decompression_bombs_are_refused_by_name(tmp_path, size, reason):
    path = tmp_path / 'image.png'
    png = bytearray(write_image(path).read_bytes())
    png[16:24] = struct.pack('>II', *size)
    png[29:33] = struct.pack('>I', zlib.crc32(png[12:29]))
    path.write_bytes(png)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(path)


def test_large_images_are_read_without_warnings(tmp_path):
    code = """
import sys
from PIL import Image
from lib.features.images import read_image
Image.MAX_IMAGE_PIXELS = 1500
print(read_image(sys.argv[1]).size)
"""
    write_image(tmp_path / 'image.jpg', size=(60, 40))
    process = run_python(code, tmp_path / 'image.jpg')
    assert process.returncode == 0, process.stderr
    assert (process.stdout, process.stderr) == ('(60, 40)\n', '')


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.gif'])
def test_huge_images_are_decoded_at_a_smaller_size(tmp_path, monkeypatch, suffix):
    path = write_image(tmp_path / f'image{suffix}', size=(650, 501))
    exact = prepare_image(read_image(path, 16), 16, [0, 0, 0])
    monkeypatch.setattr(images, 'HUGE_PIXELS', 200_000)
    assert read_image(path).size == (650, 501)
    assert read_image(path, 150).size == (650, 501)
    image = read_image(path, 16)
    assert 4 * 16 <= min(image.size) < 8 * 16
    numpy.testing.assert_allclose(prepare_image(image, 16, [0, 0, 0]), exact, atol=8)


def test_huge_images_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    path = write_image(tmp_path / 'image.png')
    monkeypatch.setattr(images, 'HUGE_PIXELS', 1000)
    decoding = threading.Lock()
    to_rgb = images._to_rgb

    def to_rgb_alone(image):
        assert decoding.acquire(blocking=False)
        time.sleep(0.01)
        decoding.release()
        return to_rgb(image)

    monkeypatch.setattr(images, '_to_rgb', to_rgb_alone)
    with ThreadPoolExecutor(8) as pool:
        assert {image.size for image in pool.map(read_image, [path] * 8)} == {(60, 40)}


def test_prepared_images_are_blue_green_red_minus_the_mean():
    pixels = prepare_image(Image.new('RGB', (30, 20), (10, 20, 30)), 8, [1, 2, 3])
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == 'float32'
    numpy.testing.assert_array_equal(pixels[:, 0, 0], [29, 18, 7])
    assert (pixels == pixels[:, :1, :1]).all()


def test_warp_keeps_the_edges_that_crop_removes():
    image = Image.new('RGB', (120, 40), 'black')
    image.paste('white', (0, 0, 20, 40))
    warped, cropped = (prepare_image(image, 12, [0, 0, 0], resize) for resize in ('warp', 'crop'))
    assert warped[:, :, 0].min() == 255
    assert cropped.shape == warped.shape
    assert cropped.max() == 0


@pytest.mark.parametrize(
    'size', [(60, 40), (333, 500), (500, 375), (31, 32), (5, 4), (500, 2), (1, 300), (1, 1)]
)
def test_crop_equals_resizing_the_whole_image_before_cropping(size):
    pixels = numpy.random.RandomState(0).randint(0, 256, (*size[::-1], 3)).astype('uint8')
    image = Image.fromarray(pixels)
    for target in 32, 33:
        resized = [round(length * target / min(size)) for length in size]
        left, top = [(length - target) // 2 for length in resized]
        whole = numpy.asarray(image.resize(resized, Image.Resampling.BILINEAR), 'float32')
        expected = whole[top : top + target, left : left + target, ::-1].transpose(2, 0, 1)
        # Rounding differs because Pillow may resize the rows before the columns.
        cropped = prepare_image(image, target, [0, 0, 0], 'crop')
        assert abs(cropped - expected).max() <= 1
        assert abs(cropped - expected).mean() < 0.5


@pytest.mark.parametrize('size', [(1, 500), (500, 1), (223, 224), (1, 1)])
def test_images_of_any_shape_can_be_prepared(size):
    for resize in 'warp', 'crop':
        assert prepare_image(Image.new('RGB', size), 32, [0, 0, 0], resize).shape == (3, 32, 32)
