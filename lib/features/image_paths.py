"""Finding images in folders and lists, and those of a data set below a folder."""

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence

from lib.errors import InputError, InputWarning
from lib.files.image_names import HAS_HEIF, HEIF_SUFFIXES, SUFFIXES
from lib.files.input import read_utf8
from lib.files.text import to_nfc


def find_images(paths: Sequence[str], lists: Sequence[str] = ()) -> list[str]:
    """Collects the paths of images from files, folders and lists.

    A note says how many files of folders have no image's suffix.

    Args:
        paths (list of str): Images, whatever their suffix, and folders, whose files with an
            image's suffix are taken in alphabetical order, with those of the folders in them.
        lists (list of str): Text files with such a path on each line; ``-`` is standard input.

    Returns:
        list of str: The paths of the images.

    Raises:
        InputError: If a list cannot be read, one of ``paths`` does not exist, or no image is found.
        OSError: If a folder cannot be read.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise InputError(f'{path}: no such image or folder')
    lines = (line.strip() for path in lists for line in read_utf8(path).split('\n'))
    images = []
    others = Counter()
    for path in (*paths, *(os.path.expanduser(line) for line in lines if line)):
        if not os.path.isdir(path):
            images.append(path)
            continue
        for file in files_below(path):
            suffix = os.path.splitext(file)[1].lower()
            if suffix in SUFFIXES and (HAS_HEIF or suffix not in HEIF_SUFFIXES):
                images.append(os.path.join(path, file))
            else:
                others[suffix] += 1
    if others:
        counts = (f'{count} {suffix or "without suffix"}' for suffix, count in others.most_common())
        note = f'left out files that are not images by their suffix: {", ".join(counts)}'
        if not HAS_HEIF and not others.keys().isdisjoint(HEIF_SUFFIXES):
            note += '; to read .heic and .heif, pip install pillow-heif'
        warnings.warn(note, InputWarning, stacklevel=2)
    if not images:
        raise InputError(f'no images in {", ".join((*paths, *lists))}')
    return images


def locate_images(
    root: str, names: Sequence[str], listed_in: Sequence[str] | None = None
) -> list[str | None]:
    """Finds the images of a data set below a folder.

    Where a name does not lead to a file from there, the file is looked for in all folders below,
    and names are compared in Unicode's normal form C. If the name of the file that lists an image
    names a folder with some of its images, as ``captions_train2017.json`` names ``train2017``, the
    image has to be in such a folder.

    Args:
        root (str): The folder.
        names (list of str): The names of the images in the data set.
        listed_in (list of str): The files that list them, if known.

    Returns:
        list of str: The path of each image; None for those that are missing.

    Raises:
        InputError: If a name leads out of the folder, or several files have it.
    """
    for name in names:
        if os.path.isabs(name) or '..' in name.split(os.sep):
            raise InputError(f'{name}: is not below {root}; make it relative to that folder')
    paths = [os.path.join(root, name) for name in names]
    paths = [path if os.path.exists(path) else None for path in paths]
    if None not in paths:
        return paths
    files_called = defaultdict(list)
    for file in files_below(root):
        files_called[to_nfc(os.path.basename(file))].append(file)
    matches = [_files_of(name, files_called) for name in names]
    if listed_in is not None:
        _prefer_own_folders(matches, listed_in)
    for n, files in enumerate(matches):
        if paths[n] is None and len(files) > 1:
            raise InputError(
                f'{root}: {names[n]} is in several folders, as {files[0]} and {files[1]}; name the '
                'folder in the data set'
            )
        if paths[n] is None and files:
            paths[n] = os.path.join(root, files[0])
    return paths


def _files_of(name, files_called):
    """Returns the files whose paths end with a name."""
    ending = os.sep + to_nfc(name)
    files = files_called[to_nfc(os.path.basename(name))]
    return [file for file in files if (os.sep + to_nfc(file)).endswith(ending)]


def _prefer_own_folders(matches, listed_in):
    """Leaves only the files in a folder that the name of the list names, if it has any image."""
    own_files = []
    for files, path in zip(matches, listed_in):
        words = {*re.split(r'\W+|_', os.path.basename(path).lower())}
        folders = ({*file.lower().split(os.sep)[:-1]} for file in files)
        own_files.append([file for file, parts in zip(files, folders) if parts & words])
    lists_with_folder = {path for files, path in zip(own_files, listed_in) if files}
    for n, path in enumerate(listed_in):
        if path in lists_with_folder:
            matches[n] = own_files[n]


def files_below(folder):
    """Yields the files below a folder, relative to it and sorted, except hidden ones."""

    def note_error(error):
        if error.filename == folder:
            raise error
        note = f'{error.filename}: {error.strerror}; it is left out'
        warnings.warn(note, InputWarning, stacklevel=4)

    seen = set()
    for path, folders, files in os.walk(folder, onerror=note_error, followlinks=True):
        identity = os.path.realpath(path)
        # Links may form a circle.
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        for name in sorted(files):
            if not name.startswith('.'):
                yield os.path.relpath(os.path.join(path, name), folder)
