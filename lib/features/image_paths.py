"""Finding images in folders and lists."""

import os
from collections.abc import Sequence

from lib.errors import InputError
from lib.files.input import check_input

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
