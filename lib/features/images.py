"""Reading and preparing images."""

import os
import threading
import warnings

import numpy
from PIL import Image, ImageOps, UnidentifiedImageError

from lib.files.image_names import HAS_HEIF
from lib.files.input import check_input

# Pillow opens more formats, some of which start a program (EPS) or contain no pixels (HDF5).
# TGA is last, since its files can only be recognized by not being anything else.
FORMATS = 'JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'JPEG2000', 'AVIF', 'HEIF', 'TGA'
if HAS_HEIF:
    import pillow_heif

    pillow_heif.register_heif_opener()
# Pillow warns of huge images and unusual metadata, which are harmless here. A global filter
# applies to all threads; catch_warnings() around each image would not.
warnings.filterwarnings('ignore', module=r'PIL\.')

# A file of a few bytes can declare any size. Pillow itself refuses more than 179 megapixels;
# resizing an image with a longer side would take gigabytes.
MAX_SIDE = 100_000
# Decoding takes 8 bytes a pixel, of some formats 24, so images of more pixels than usual
# photographs are decoded one at a time, others by as many threads as there are cores.
HUGE_PIXELS = 50_000_000
ONE_AT_A_TIME = threading.Lock()
ONE_PER_CORE = threading.Semaphore(os.cpu_count() or 1)
# The C library returns larger blocks than 32 MB to the system; others stay with their thread.
Image.core.set_block_size(64 * 1024 * 1024)
# Huge images are reduced to no less than this many times the size that is needed, which makes no
# visible difference.
REDUCING_GAP = 4


class UnreadableImageError(Exception):
    """A file that cannot be decoded, or would be too large then; the message names it.

    Attributes:
        image: The image as it was given.
    """

    def __init__(self, message, image):
        super().__init__(message)
        self.image = image


def read_image(image, size: int | None = None) -> Image.Image:
    """Reads an image as a viewer would show it.

    EXIF rotation is applied; transparent pixels are composited over white; of an animation the
    first frame is taken. Several threads may read images: only a few are decoded at a time.

    Args:
        image (str, PIL.Image.Image or binary file): A file in one of :data:`FORMATS`, its path, or
            an image of any mode.
        size (int): What the shorter side will be resized to, pixels. An image of more than
            :data:`HUGE_PIXELS` is decoded at a smaller size then.

    Returns:
        PIL.Image.Image: An RGB image.

    Raises:
        UnreadableImageError: If the image is missing, damaged, too large or not an image.
    """
    try:
        if isinstance(image, Image.Image):
            return _to_rgb(image)
        return _decode(image, size)
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        unreadable = _unreadable(error, image)
    # Raised here, where the first error is gone: it would keep its half-decoded image.
    raise unreadable


def _decode(image, size):
    if isinstance(image, (str, os.PathLike)):
        check_input(image)
        # Not by its name: Pillow would map the file, which ends the process if it is cut short.
        with open(image, 'rb') as opened:
            return _decode(opened, size)
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # not all are in every Pillow
    with Image.open(image, formats=formats) as file:
        width, height = file.size
        if max(width, height) > MAX_SIDE:
            raise ValueError(f'too large: {width} x {height} pixels')
        if width * height <= HUGE_PIXELS:
            with ONE_PER_CORE:
                return _to_rgb(file)
        with ONE_AT_A_TIME:
            if size is None:
                return _to_rgb(file)
            file.draft(None, (REDUCING_GAP * size, REDUCING_GAP * size))  # of a JPEG
            image = _to_rgb(file)
            return image.reduce(max(1, min(image.size) // (REDUCING_GAP * size)))


def _unreadable(error, image):
    """Returns an error whose message, one line, says why an image is unreadable and names it."""
    reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = 'not an image, or of an unknown format'
    path = f'{image}: ' if isinstance(image, (str, os.PathLike)) else ''
    return UnreadableImageError(path + ' '.join(reason.split()), image)


def _to_rgb(image):
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I'):  # 16 or 32 bits
        image = Image.fromarray(numpy.clip(numpy.asarray(image) // 257, 0, 255).astype('uint8'))
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        image = image if image.mode == 'RGBA' else image.convert('RGBA')
        opaque = Image.new('RGB', image.size, 'white')
        opaque.paste(image, mask=image)
        return opaque
    return image if image.mode == 'RGB' else image.convert('RGB')


def prepare_image(
    image,
    image_size: int,
    mean,
    resize: str = 'warp',
    channels: str = 'BGR',
    std=(1, 1, 1),
    interpolation: str = 'bilinear',
) -> numpy.ndarray:
    """Converts an image to the input of a CNN.

    Args:
        image (PIL.Image.Image): An RGB image of any size.
        image_size (int): Width and height of the network's input, pixels.
        mean (sequence of float): Subtracted from the channels, in [0, 255].
        resize (str): ``'warp'`` resizes the whole image to a square, as for Karpathy's
            features; ``'crop'`` resizes the shorter side and crops the center.
        channels (str): Their order, ``'BGR'`` or ``'RGB'``.
        std (sequence of float): What the channels are divided by.
        interpolation (str): ``'bilinear'`` or ``'bicubic'``.

    Returns:
        array: (3, image_size, image_size), float32.
    """
    box = _center_box(image.size, image_size) if resize == 'crop' else None
    filter_ = Image.Resampling[interpolation.upper()]
    pixels = numpy.asarray(image.resize((image_size, image_size), filter_, box), 'float32')
    if channels == 'BGR':
        pixels = pixels[:, :, ::-1]
    prepared = (pixels - numpy.float32(mean)) / numpy.float32(std)
    return numpy.ascontiguousarray(prepared.transpose(2, 0, 1))


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
