import numpy
import pytest
from PIL import Image

from lib.errors import InputError
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


def test_reads_cmyk_jpeg(tmp_path):
    make_halves().convert('CMYK').save(tmp_path / 'image.jpg')
    assert_halves(read_image(tmp_path / 'image.jpg'), RED, BLUE)


def test_reads_palette_images(tmp_path):
    make_halves().convert('P').save(tmp_path / 'image.png')
    assert_halves(read_image(tmp_path / 'image.png'), RED, BLUE)


def test_reads_black_and_white_and_grayscale(tmp_path):
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


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # rotated by 180 degrees
    make_halves().save(tmp_path / 'image.jpg', exif=exif)
    assert_halves(read_image(tmp_path / 'image.jpg'), BLUE, RED)


@pytest.mark.parametrize('damage', ['missing', 'empty', 'text', 'truncated', 'folder'])
def test_errors_name_the_unreadable_file(tmp_path, damage):
    path = tmp_path / 'image.jpg'
    if damage == 'folder':
        path.mkdir()
    elif damage != 'missing':
        whole = write_image(path).read_bytes()
        path.write_bytes({'empty': b'', 'text': b'hello', 'truncated': whole[:-300]}[damage])
    with pytest.raises(UnreadableImageError, match='image.jpg') as info:
        read_image(path)
    assert '\n' not in str(info.value)


def test_huge_images_are_read_without_warnings(tmp_path):
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


def test_an_unknown_way_to_resize_is_rejected():
    with pytest.raises(InputError, match='resize stretch'):
        prepare_image(Image.new('RGB', (30, 20)), 32, [0, 0, 0], 'stretch')
