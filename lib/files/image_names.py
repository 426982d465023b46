"""Names of the files of images."""

import importlib.util
import os

# iPhones' format, which Pillow reads with the package pillow-heif.
HEIF_SUFFIXES = '.heic', '.heif'
HAS_HEIF = importlib.util.find_spec('pillow_heif') is not None
# The files that count as images by their name.
SUFFIXES = (
    '.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.gif', '.bmp', '.tif', '.tiff', '.webp',
    '.ppm', '.pgm', '.pbm', '.jp2', '.avif', '.tga', *HEIF_SUFFIXES,
)  # fmt: skip


def without_suffix(name: str) -> str:
    """Returns the name of a file without its suffix if that is one of an image format."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name
