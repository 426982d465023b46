"""Which row of some files holds the features of which image."""

import itertools
import os
import warnings
from collections import Counter

import numpy

from lib.errors import InputError, InputWarning
from lib.features.image_paths import SUFFIXES

# Images that an error message names.
N_NAMED = 3


def find_rows(matrices, dataset, images):
    """Finds the rows of images in files that follow one another.

    Args:
        matrices (list of lib.features.feature_matrix.FeatureMatrix): The files.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        images (array): Indices of its images that must be there.

    Returns:
        array: The row of each ``imgid``, -1 where there is none, (N,), int64; None if that is the
        ``imgid`` itself: the files do not name their images, or name them in this order.

    Raises:
        InputError: If an image has no row, or more than one.
    """
    unnamed = [matrix for matrix in matrices if matrix.names is None and matrix.ids is None]
    if len(unnamed) == len(matrices) or _are_in_order(matrices, dataset):
        return None
    if unnamed:
        raise InputError(
            f'{unnamed[0].path}: does not name its images, but other files do, so their order is '
            'unclear'
        )
    rows = numpy.full(int(dataset.imgid.max()) + 1, -1)
    first_rows = numpy.cumsum([0, *map(len, matrices)])
    for matrix, first in zip(matrices, first_rows):
        imgids = _find_imgids(matrix, dataset)
        (known,) = numpy.nonzero(imgids >= 0)
        before = rows[imgids[known]]
        if (before >= 0).any():
            other = matrices[numpy.searchsorted(first_rows, before.max(), 'right') - 1]
            name = dataset.filename[dataset.imgid == imgids[known][before.argmax()]][0]
            raise InputError(
                f'is needed: {other.path} and {matrix.path} both have features of {name}; '
                'concatenate or average them',
                'combine',
            )
        rows[imgids[known]] = first + known
    _check_complete(rows, matrices, dataset, images)
    return rows


def _are_in_order(matrices, dataset):
    """Returns whether row ``n`` is that of ``imgid`` ``n`` by its name, and no other one is.

    That settles what names alone do not: several images of a data set may share one.
    """
    if any(matrix.names is None for matrix in matrices):
        return False
    names = list(itertools.chain(*(matrix.names for matrix in matrices)))
    if len(names) <= dataset.imgid.max():
        return False
    names = numpy.array(names, object)
    is_used = numpy.zeros(len(names), bool)
    is_used[dataset.imgid] = True
    return (names[dataset.imgid] == dataset.filename).all() and not {*names[~is_used]}.intersection(
        dataset.filename
    )


def _check_complete(rows, matrices, dataset, images):
    missing = dataset.filename[images[rows[dataset.imgid[images]] < 0]]
    if not len(missing):
        return
    paths = ', '.join(matrix.path for matrix in matrices)
    shown = ', '.join(missing[:N_NAMED]) + (', ...' if len(missing) > N_NAMED else '')
    message = f'{paths}: no features of {len(missing)} of the {len(images)} images needed: {shown}'
    names, counts = numpy.unique(dataset.filename, return_counts=True)
    if numpy.isin(missing, names[counts > 1]).any():
        message += '; several images of the data set have the same name, so give their ids'
    raise InputError(message)


def _find_imgids(matrix, dataset):
    """Returns the ``imgid`` of each row of a file, -1 of images that are not in the data set."""
    ids = dict(zip(dataset.ids_of(numpy.arange(len(dataset.imgid))), dataset.imgid.tolist()))
    keys = matrix.ids.tolist() if matrix.names is None else [name for name in matrix.names if name]
    if len({*keys}) < len(keys):
        ((key, _),) = Counter(keys).most_common(1)
        raise InputError(f'{matrix.path}: has features of {key} more than once')
    if matrix.names is None:
        return _look_up(keys, ids)
    best, without_folder = numpy.full(len(matrix), -1), False
    for shorten, is_without_folder in SHORTENED.items():
        found = _match(matrix.names, dataset, shorten)
        if (found >= 0).sum() > (best >= 0).sum():
            best, without_folder = found, is_without_folder
    found = _look_up(map(_to_id, matrix.names), ids)
    if (found >= 0).sum() > (best >= 0).sum():
        return found
    if without_folder:
        warnings.warn(
            f'{matrix.path}: images are found by the names of their files without folders',
            InputWarning,
            stacklevel=2,
        )
    return best


def _match(names, dataset, shorten):
    """Returns the ``imgid`` of each name, -1 where there is none or it is ambiguous."""
    imgid_of = {}
    for name, imgid in zip(map(shorten, dataset.filename), dataset.imgid.tolist()):
        imgid_of[name] = -1 if name in imgid_of else imgid
    return _look_up(map(shorten, names), {**imgid_of, '': -1})


def _look_up(keys, imgid_of):
    """Returns the ``imgid`` of each key, -1 where there is none or several keys have it."""
    found = numpy.array([imgid_of.get(key, -1) for key in keys], int)
    imgids, counts = numpy.unique(found, return_counts=True)
    found[numpy.isin(found, imgids[counts > 1])] = -1
    return found


def _to_id(name):
    return int(name) if name.isascii() and name.isdecimal() and len(name) < 20 else None


def _without_suffix(name):
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


# What names are compared by, strictest first, and whether that leaves out folders.
SHORTENED = {
    str: False,
    _without_suffix: False,
    os.path.basename: True,
    lambda name: _without_suffix(os.path.basename(name)): True,
}
