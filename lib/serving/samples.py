"""Images that the page offers to try."""

import io
from typing import NamedTuple

from PIL import Image

from lib.errors import InputError
from lib.features.image_paths import find_images
from lib.features.images import UnreadableImageError, read_image

# How many are offered, and the largest file: they are kept in memory.
MAX_SAMPLES = 8
MAX_BYTES = 2_000_000
# Formats that all browsers show.
FORMATS = 'JPEG', 'PNG', 'GIF', 'WEBP'


class Sample(NamedTuple):
    """An image file.

    Attributes:
        content (bytes): What is in it.
        mimetype (str): Such as ``'image/jpeg'``.
    """

    content: bytes
    mimetype: str


def load_samples(folder: str) -> list[Sample]:
    """Reads the first images of a folder that browsers can show.

    Args:
        folder (str): The folder.

    Raises:
        InputError: If there are none.
    """
    samples = []
    for path in find_images([folder]):
        with open(path, 'rb') as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) <= MAX_BYTES and (mimetype := _mimetype_of(content)):
            samples.append(Sample(content, mimetype))
        if len(samples) == MAX_SAMPLES:
            break
    if not samples:
        raise InputError(f'{folder}: has no images of up to 2 MB that browsers show', 'samples')
    return samples


def _mimetype_of(content):
    """Returns the type of an image file, None if browsers do not show it or it is damaged."""
    try:
        read_image(io.BytesIO(content))
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return image.get_format_mimetype()
    except (UnreadableImageError, OSError):
        return None
