"""Reading and preparing images."""

import contextlib
import functools
import io
import math
import mmap
import os
import re
import warnings

import numpy
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lib.errors import InputError
from lib.features.feature_source import RESIZE_MODES
from lib.features.memory_budget import MemoryBudget
from lib.files.input import check_input

# Pillow opens more formats, some of which start a program (EPS) or contain no pixels (HDF5).
# TGA is last, since its files can only be recognized by not being anything else.
FORMATS = 'JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'JPEG2000', 'AVIF', 'TGA'
# Pillow warns of huge images and unusual metadata, which are harmless here. A global filter
# applies to all threads; catch_warnings() around each image would not.
warnings.filterwarnings('ignore', module=r'PIL\.')

# A file of a few bytes can declare any size, so implausible sizes are refused.
MAX_SIDE = 100_000
# Some decoders read the whole file first.
MAX_FILE_SIZE = 1_000_000_000
# Pixels that a JPEG may decode, over all of its scans: some seconds. Usual ones have ten scans.
MAX_SCANNED_PIXELS = 10_000_000_000
# Scans of the largest image where there is a limit on pixels.
MAX_SCANS = 20
# Neither stuffed zeros nor restarts, which are in the middle of scans.
JPEG_MARKER = re.compile(rb'\xff[\xc0-\xcf\xd9-\xfe]')
# Images of more pixels are decoded at a smaller size, but this many times that which is needed:
# enough to make no visible difference. No usual photograph has as many.
HUGE_PIXELS = 50_000_000
REDUCING_GAP = 4
# Pixels that are converted to RGB at once.
STRIP_PIXELS = 4_000_000
# What decoding takes at most, with the RGB image. These three decoders work on copies.
BYTES_PER_PIXEL = {'WEBP': 20, 'AVIF': 20, 'JPEG2000': 24}
OTHER_BYTES_PER_PIXEL = 8
MEMORY = MemoryBudget(1_500_000_000)
# The C library returns larger blocks than 32 MB to the system; others stay with their thread.
Image.core.set_block_size(64 * 1024 * 1024)


class UnreadableImageError(Exception):
    """A file that cannot be decoded, or would be too large then; the message names it."""


class TooLargeImageError(UnreadableImageError):
    """An image, or its file, that exceeds a limit."""


def read_image(path: str, size: int | None = None) -> Image.Image:
    """Reads an image as a viewer would show it.

    See :func:`decoded`.

    Args:
        path (str): A file in one of :data:`FORMATS`.
        size (int): As for :func:`decoded`.

    Returns:
        PIL.Image.Image: An RGB image.

    Raises:
        UnreadableImageError: If the file is missing, damaged, too large or not an image.
    """
    with decoded(path, size) as image:
        return image


@contextlib.contextmanager
def decoded(image, size: int | None = None, max_pixels: int | None = None):
    """Decodes an image as a viewer would show it.

    EXIF rotation is applied; transparent pixels are composited over white; of an animation the
    first frame is taken. The memory for the image is reserved until the block ends, so threads
    that decode at once wait for each other rather than exceed :data:`MEMORY`.

    Args:
        image (str, PIL.Image.Image or binary file): A file in one of :data:`FORMATS`, its path, or
            an image of any mode.
        size (int): What the shorter side will be resized to, pixels. An image of more than
            :data:`HUGE_PIXELS` is decoded at a smaller size then.
        max_pixels (int): Images of more pixels are refused, in addition to those for which
            :data:`MEMORY` does not suffice.

    Yields:
        PIL.Image.Image: An RGB image.

    Raises:
        UnreadableImageError: If the image is missing, damaged, too large or not an image.
    """
    with contextlib.ExitStack() as memory:
        error = None
        try:
            rgb = _decode(image, size, max_pixels, memory)
        except Exception as original:
            # Pillow's decoders raise many kinds of exceptions on damaged files.
            error = _unreadable(original, image)
        if error is not None:
            # Raised here, where the first error is gone: it would keep its half-decoded image.
            raise error
        yield rgb


def _decode(image, size, max_pixels, memory):
    if isinstance(image, Image.Image):
        memory.enter_context(MEMORY.reserve(_bytes_to_decode(image, max_pixels)))
        return _convert(image, size)
    if isinstance(image, (str, os.PathLike)):
        check_input(image)
        if os.path.getsize(image) > MAX_FILE_SIZE:
            raise TooLargeImageError(f'too large: a file of {os.path.getsize(image)} bytes')
    with Image.open(image, formats=_available_formats()) as file:
        n_bytes = _bytes_to_decode(file, max_pixels)
        if file.format in ('JPEG', 'MPO'):
            _check_scans(file, max_pixels)
        memory.enter_context(MEMORY.reserve(n_bytes))
        if size is not None and _is_huge(file):
            file.draft(None, (REDUCING_GAP * size, REDUCING_GAP * size))
        return _convert(file, size)


@functools.cache
def _available_formats():
    """Returns those of the formats that this version of Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_scans(file, max_pixels):
    """Refuses a small JPEG file that takes minutes, since each scan covers the whole image."""
    most_pixels = MAX_SCANNED_PIXELS
    if max_pixels is not None:
        most_pixels = min(most_pixels, MAX_SCANS * max_pixels)
    most_scans = most_pixels // max(1, file.width * file.height)
    if file.fp.seek(0, os.SEEK_END) < 10 * most_scans:  # a scan has at least 10 bytes
        return
    if isinstance(file.fp, io.BytesIO):
        content = file.fp.getbuffer()
    else:
        content = mmap.mmap(file.fp.fileno(), 0, access=mmap.ACCESS_READ)
    with content:
        n_scans = _count_scans(content)
    if n_scans > most_scans:
        raise TooLargeImageError(
            f'too large: {file.width} x {file.height} pixels in {n_scans} scans'
        )


def _count_scans(jpeg):
    """Returns the number of scans of JPEG data, without those of thumbnails or after the end."""
    n_scans, position = 0, len(b'\xff\xd8')
    while marker := JPEG_MARKER.search(jpeg, position):
        if marker[0] == b'\xff\xd9':  # end of image
            break
        n_scans += marker[0] == b'\xff\xda'  # start of scan
        position = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], 'big')
    return n_scans


def _bytes_to_decode(image, max_pixels):
    """Returns how much memory to reserve; raises an error for a size that is refused."""
    width, height = image.size
    n_bytes = width * height * BYTES_PER_PIXEL.get(image.format, OTHER_BYTES_PER_PIXEL)
    if min(width, height) < 1:
        raise UnreadableImageError(f'empty: {width} x {height} pixels')
    max_pixels = width * height if max_pixels is None else max_pixels
    if max(width, height) > MAX_SIDE or n_bytes > MEMORY.size or width * height > max_pixels:
        raise TooLargeImageError(f'too large: {width} x {height} pixels')
    return n_bytes


def _unreadable(error, image):
    """Returns an error whose message, one line, says why an image is unreadable and names it."""
    kind = TooLargeImageError if isinstance(error, TooLargeImageError) else UnreadableImageError
    if isinstance(error, Image.DecompressionBombError):
        # Pillow does not say what the width and height are.
        kind = TooLargeImageError
        reason = f'too large: more than {2 * Image.MAX_IMAGE_PIXELS} pixels'
    elif isinstance(error, UnidentifiedImageError) and isinstance(image, io.IOBase):
        reason = 'not an image, or of an unknown format'  # Pillow would name the object
    else:
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    reason = ' '.join(reason.split())
    is_named = isinstance(image, (Image.Image, io.IOBase)) or str(image) in reason
    return kind(reason if is_named else f'{image}: {reason}')


def _is_huge(image):
    return image.width * image.height > HUGE_PIXELS


def _convert(image, size):
    """Converts an image of any mode to RGB, and reduces it by a whole factor if it is huge."""
    image.load()
    if image.width * image.height <= STRIP_PIXELS:
        return _to_rgb(ImageOps.exif_transpose(image))
    factor = 1
    if size is not None and _is_huge(image):
        factor = max(1, min(image.size) // (REDUCING_GAP * size))
    rgb = _to_rgb_in_strips(image, factor)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    rgb.getexif()[ExifTags.Base.Orientation] = orientation
    ImageOps.exif_transpose(rgb, in_place=True)
    return rgb


def _to_rgb_in_strips(image, factor):
    """Converts a few rows at a time, because conversions make several copies."""
    width, height = image.size
    rgb = Image.new('RGB', (math.ceil(width / factor), math.ceil(height / factor)))
    n_rows = factor * max(1, STRIP_PIXELS // (factor * width))
    for top in range(0, height, n_rows):
        strip = image.crop((0, top, width, min(top + n_rows, height)))
        rgb.paste(_to_rgb(strip).reduce(factor), (0, top // factor))
    return rgb


def _to_rgb(image):
    if image.mode.startswith('I'):
        gray = numpy.clip(numpy.asarray(image) / 257, 0, 255).astype('uint8')
        image = Image.fromarray(gray)
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image)
    return image.convert('RGB')


def prepare_image(image, image_size: int, mean, resize: str = 'warp') -> numpy.ndarray:
    """Converts an image to the input of a CNN.

    Args:
        image (PIL.Image.Image): An RGB image of any size.
        image_size (int): Width and height of the network's input, pixels.
        mean (sequence of float): Subtracted from blue, green and red, in [0, 255].
        resize (str): ``'warp'`` resizes the whole image to a square, as for Karpathy's
            features; ``'crop'`` resizes the shorter side and crops the center.

    Returns:
        array: (3, image_size, image_size), float32, in the order blue, green, red.

    Raises:
        InputError: If ``resize`` is neither.
    """
    if resize not in RESIZE_MODES:
        raise InputError(f'{resize}: must be warp or crop', option='resize')
    box = _center_box(image.size, image_size) if resize == 'crop' else None
    image = image.resize((image_size, image_size), Image.Resampling.BILINEAR, box)
    blue_green_red = numpy.asarray(image, 'float32')[:, :, ::-1] - numpy.float32(mean)
    return numpy.ascontiguousarray(blue_green_red.transpose(2, 0, 1))


def _center_box(size, target):
    """Returns the part of an image that is kept if its shorter side is resized and it is cropped.

    Args:
        size (tuple of int): Width and height of the image.
        target (int): Width and height of the result.

    Returns:
        tuple of float: Left, top, right and bottom, so that the other parts need not be resized.
    """
    resized = [max(target, round(length * target / min(size))) for length in size]
    starts = [(length - target) // 2 for length in resized]
    scales = [length / resized_length for length, resized_length in zip(size, resized)]
    ends = [
        min(length, (start + target) * scale) for length, start, scale in zip(size, starts, scales)
    ]
    return (*(start * scale for start, scale in zip(starts, scales)), *ends)
