"""Images that are huge, tiny, of extreme shapes, or made to do harm."""

import random
import struct
import warnings
import zlib

import numpy
import pytest
from PIL import Image

from lib.features import images
from lib.features.images import UnreadableImageError, decoded, prepare_image, read_image
from lib.features.memory_budget import MemoryBudget
from tests.helpers.samples import write_image
from tests.helpers.scripts import run_python

ROTATED = Image.Exif()
ROTATED[0x0112] = 6

PREPARE_IN_LITTLE_MEMORY = """
import resource, sys
from lib.features.images import prepare_image, read_image
with open('/proc/self/statm') as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000,) * 2)
for resize in 'warp', 'crop':
    print(prepare_image(read_image(sys.argv[1], 224), 224, [0, 0, 0], resize).shape)
"""


def write_png_of_declared_size(path, width, height):
    """Writes a PNG that says it has another size than its data."""
    png = bytearray(write_image(path).read_bytes())
    png[16:24] = struct.pack('>II', width, height)
    png[29:33] = struct.pack('>I', zlib.crc32(png[12:29]))
    path.write_bytes(png)
    return path


@pytest.mark.parametrize('size', [(1, 60000), (60000, 1)])
def test_long_narrow_images_take_little_memory(tmp_path, size):
    Image.new('L', size).save(tmp_path / 'narrow.png')
    process = run_python(PREPARE_IN_LITTLE_MEMORY, tmp_path / 'narrow.png')
    assert process.stdout == '(3, 224, 224)\n' * 2, process.stderr


@pytest.mark.parametrize(
    'size, reason',
    [
        ((60000, 60000), 'image.png: too large: more than 178956970 pixels'),
        ((100_001, 3), 'image.png: too large: 100001 x 3 pixels'),
        ((3, 100_001), 'image.png: too large: 3 x 100001 pixels'),
        ((0, 5), 'image.png'),
        ((0, 0), 'image.png'),
    ],
)
def test_images_without_pixels_or_with_too_many_are_refused_by_name(tmp_path, size, reason):
    path = write_png_of_declared_size(tmp_path / 'image.png', *size)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(path)


def test_images_in_memory_are_checked_too():
    with (
        pytest.raises(UnreadableImageError, match='empty: 0 x 5'),
        decoded(Image.new('RGB', (0, 5))),
    ):
        pass


def test_formats_whose_decoders_take_more_memory_may_have_fewer_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(images, 'MEMORY', MemoryBudget(10 * 60 * 40))
    assert read_image(write_image(tmp_path / 'image.png')).size == (60, 40)
    with pytest.raises(UnreadableImageError, match='image.webp: too large: 60 x 40 pixels'):
        read_image(write_image(tmp_path / 'image.webp'))


def test_the_memory_of_an_image_is_reserved_while_it_is_used(tmp_path, monkeypatch):
    taken = []

    class RecordingBudget(MemoryBudget):
        def reserve(self, n_bytes):
            taken.append(n_bytes)
            return super().reserve(n_bytes)

    monkeypatch.setattr(images, 'MEMORY', RecordingBudget(10**6))
    with decoded(write_image(tmp_path / 'image.png')):
        assert images.MEMORY._free == 10**6 - 8 * 60 * 40
    assert images.MEMORY._free == 10**6
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'image.png').read_bytes()[:-300])
    with pytest.raises(UnreadableImageError) as info:
        read_image(tmp_path / 'cut.png')
    assert taken == [8 * 60 * 40] * 2
    assert images.MEMORY._free == 10**6
    # The decoder's error would keep the pixels as long as this one is kept.
    assert info.value.__context__ is None


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.gif'])
def test_huge_images_are_decoded_at_a_smaller_size(tmp_path, monkeypatch, suffix):
    path = write_image(tmp_path / f'image{suffix}', size=(1300, 1001))
    exact = prepare_image(read_image(path, 32), 32, [0, 0, 0])
    monkeypatch.setattr(images, 'HUGE_PIXELS', 1_000_000)
    monkeypatch.setattr(images, 'STRIP_PIXELS', 100_000)
    assert read_image(path).size == (1300, 1001)
    image = read_image(path, 32)
    assert 4 * 32 <= min(image.size) < 8 * 32
    numpy.testing.assert_allclose(prepare_image(image, 32, [0, 0, 0]), exact, atol=6)


def test_images_that_are_not_much_larger_than_needed_keep_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(images, 'HUGE_PIXELS', 1000)
    monkeypatch.setattr(images, 'STRIP_PIXELS', 500)
    for suffix in '.png', '.jpg':
        path = write_image(tmp_path / f'image{suffix}', size=(90, 60))
        assert read_image(path, 10).size == (90, 60)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I', 'I;16', 'F'])
def test_strips_are_converted_like_the_whole_image(tmp_path, monkeypatch, mode):
    path = write_image(tmp_path / 'image.tif', mode='F' if mode == 'I;16' else mode)
    with Image.open(path) as image:
        if mode == 'I;16':
            image = Image.fromarray((numpy.asarray(image) * 257).astype('uint16'))
        for orientation in 1, 6:
            image.getexif()[0x0112] = orientation
            with decoded(image) as whole:
                assert whole.size == ((60, 40) if orientation == 1 else (40, 60))
            with monkeypatch.context() as patch:
                patch.setattr(images, 'STRIP_PIXELS', 7 * 60)
                with decoded(image) as from_strips:
                    numpy.testing.assert_array_equal(from_strips, whole)


@pytest.mark.parametrize('options', [{}, {'exif': ROTATED}], ids=['upright', 'rotated'])
def test_large_files_are_rotated_like_small_ones(tmp_path, monkeypatch, options):
    for suffix in '.jpg', '.png', '.webp', '.tif':
        path = write_image(tmp_path / f'image{suffix}', **options)
        whole = read_image(path)
        with monkeypatch.context() as patch:
            patch.setattr(images, 'STRIP_PIXELS', 7 * 60)
            numpy.testing.assert_array_equal(read_image(path), whole)


def test_huge_files_are_refused_before_they_are_read(tmp_path):
    path = write_image(tmp_path / 'image.webp')
    with open(path, 'r+b') as file:
        file.truncate(2 * 10**9)  # takes no space on the disk
    with pytest.raises(UnreadableImageError, match='webp: too large: a file of 2000000000 bytes'):
        read_image(path)


def test_a_jpeg_of_endless_scans_is_refused(tmp_path):
    path = tmp_path / 'image.jpg'
    Image.new('L', (3000, 2000)).save(path, progressive=True)
    jpeg = path.read_bytes()
    last_scan = jpeg[jpeg.rindex(b'\xff\xda') : -2]
    path.write_bytes(jpeg[:-2] + 9 * last_scan + jpeg[-2:])
    assert read_image(path).size == (3000, 2000)
    # What follows the end, such as the video of a "motion photo", does not count.
    path.write_bytes(jpeg + 5000 * last_scan)
    assert read_image(path).size == (3000, 2000)
    path.write_bytes(jpeg[:-2] + 5000 * last_scan + jpeg[-2:])
    with pytest.raises(UnreadableImageError, match=r'too large: 3000 x 2000 .* 50.. scans'):
        read_image(path)


def test_a_format_that_runs_a_program_is_not_opened(tmp_path):
    Image.new('RGB', (30, 20)).save(tmp_path / 'image.jpg', 'EPS')
    with pytest.raises(UnreadableImageError, match='cannot identify image file'):
        read_image(tmp_path / 'image.jpg')


def test_values_that_are_no_gray_levels_are_clipped_without_warnings(tmp_path):
    values = numpy.float32([[numpy.nan, -numpy.inf, -1, 100], [numpy.inf, 1e30, 255, 0]])
    Image.fromarray(values).save(tmp_path / 'float.tif')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        gray = numpy.asarray(read_image(tmp_path / 'float.tif'))[:, :, 0]
    numpy.testing.assert_array_equal(gray, [[0, 0, 0, 100], [255, 255, 255, 0]])


@pytest.mark.parametrize(
    'path, reason', [('a\0b.jpg', 'embedded null'), ('x' * 5000 + '.jpg', 'File name too long')]
)
def test_paths_that_no_file_can_have_are_unreadable(path, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(path)


def test_damaged_images_are_read_or_unreadable(tmp_path):
    rng = random.Random(0)
    outcomes = set()
    for suffix in 'jpg', 'png', 'gif', 'bmp', 'tif', 'webp', 'ppm', 'jp2', 'tga':
        path = write_image(tmp_path / f'image.{suffix}')
        whole = path.read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(rng.choice([1, 3, 9])):
                data[rng.randrange(min(len(data), rng.choice([40, 400])))] = rng.randrange(256)
            path.write_bytes(data)
            outcomes.add(outcome_of_reading(path))
    assert outcomes == {'read', 'unreadable'}


def outcome_of_reading(path):
    """Returns ``'read'`` or ``'unreadable'``; any other exception, and warnings, are raised."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', module=r'PIL\.')
        try:
            image = read_image(path, 8)
        except UnreadableImageError:
            return 'unreadable'
        for resize in 'warp', 'crop':
            prepare_image(image, 8, [0, 0, 0], resize)
        return 'read'
