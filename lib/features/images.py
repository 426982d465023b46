"""Finding, reading and preparing images."""

import os
import warnings
from collections.abc import Sequence

import numpy
from PIL import Image, ImageOps

from lib.errors import InputError
from lib.files import check_input

# The files of a folder that count as images. Pillow also opens PDF and HDF5 files.
SUFFIXES = (
    '.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.gif', '.bmp', '.tif', '.tiff', '.webp',
    '.ppm', '.pgm', '.pbm', '.jp2', '.avif', '.tga',
)  # fmt: skip
# Pillow warns of huge images and unusual metadata, which are harmless here. A global filter
# applies to all threads; catch_warnings() around each image would not.
warnings.filterwarnings('ignore', module=r'PIL\.')


class UnreadableImageError(Exception):
    """A file that Pillow cannot decode; the message names it."""


def find_images(paths: Sequence[str], lists: Sequence[str] = ()) -> list[str]:
    """Collects the paths of images from files, folders and lists.

    Args:
        paths (list of str): Images, whatever their suffix, and folders, whose files with an
            image's suffix are taken in alphabetical order.
        lists (list of str): Text files with such a path on each line.

    Returns:
        list of str: The paths of the images.

    Raises:
        InputError: If a list or a folder cannot be read, or no image is found.
    """
    paths = [*paths, *(path for list_path in lists for path in _read_list(list_path))]
    images = []
    for path in paths:
        images += _images_in(path) if os.path.isdir(path) else [path]
    if not images:
        raise InputError(
            f'no images in {", ".join(paths or lists)}'
            if paths or lists
            else 'no images given: name files, folders or a list of them'
        )
    return images


def _read_list(path):
    try:
        check_input(path)
        with open(path, encoding='utf-8-sig') as file:
            return [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}', option='list') from error
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not a text file in UTF-8', option='list') from error


def _images_in(folder):
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f'{folder}: {error.strerror}') from error
    return [
        os.path.join(folder, name)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith('.')
    ]


def read_image(path: str) -> Image.Image:
    """Reads an image as a viewer would show it.

    See :func:`convert_image`; of an animation the first frame is taken.

    Args:
        path (str): A file in any format that Pillow reads.

    Returns:
        PIL.Image.Image: An RGB image.

    Raises:
        UnreadableImageError: If the file is missing, damaged or not an image.
    """
    try:
        check_input(path)
        with Image.open(path) as image:
            return convert_image(image)
    except Exception as error:
        reason = _reason(error)
        if str(path) not in reason:
            reason = f'{path}: {reason}'
        raise UnreadableImageError(reason) from error


def convert_image(image: Image.Image) -> Image.Image:
    """Converts an image of any mode to RGB as a viewer would show it.

    EXIF rotation is applied; transparent pixels are composited over white.

    Raises:
        UnreadableImageError: If the image is damaged.
    """
    try:
        return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:
        # Pillow's decoders raise many kinds of exceptions on damaged files.
        raise UnreadableImageError(_reason(error)) from error


def _reason(error):
    """Returns the message of an exception, in one line."""
    reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return ' '.join(reason.split())


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
    if resize not in ('warp', 'crop'):
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
