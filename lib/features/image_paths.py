"""Finding images in folders and lists."""

import os
from collections.abc import Sequence

from lib.errors import InputError
from lib.files.input import read_utf8

# The files of a folder that count as images.
SUFFIXES = (
    '.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.gif', '.bmp', '.tif', '.tiff', '.webp',
    '.ppm', '.pgm', '.pbm', '.jp2', '.avif', '.tga',
)  # fmt: skip


def find_images(paths: Sequence[str], lists: Sequence[str] = ()) -> list[str]:
    """Collects the paths of images from files, folders and lists.

    Args:
        paths (list of str): Images, whatever their suffix, and folders, whose files with an
            image's suffix are taken in alphabetical order.
        lists (list of str): Text files with such a path on each line.

    Returns:
        list of str: The paths of the images.

    Raises:
        InputError: If a list cannot be read, or no image is found.
        OSError: If a folder cannot be read.
    """
    lines = (line.strip() for path in lists for line in read_utf8(path).split('\n'))
    images = []
    for path in (*paths, *filter(None, lines)):
        images += _images_in(path) if os.path.isdir(path) else [path]
    if not images:
        raise InputError(f'no images in {", ".join((*paths, *lists))}')
    return images


def _images_in(folder):
    return [
        os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if name.lower().endswith(SUFFIXES) and not name.startswith('.')
    ]
