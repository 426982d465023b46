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
    rows, first = numpy.full(int(dataset.imgid.max()) + 1, -1), 0
    for matrix in matrices:
        imgids = _find_imgids(matrix, dataset)
        (known,) = numpy.nonzero(imgids >= 0)
        is_double = rows[imgids[known]] >= 0
        if is_double.any():
            imgid = imgids[known][is_double.argmax()]
            name = dataset.filename[numpy.flatnonzero(dataset.imgid == imgid)[0]]
            raise InputError(
                f'is needed: {matrix.path} has features of {name}, as a file before it has; '
                'concatenate or average them',
                'combine',
            )
        rows[imgids[known]] = first + known
        first += len(matrix)
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
    all_images = numpy.arange(len(dataset.imgid))
    ids = dict(zip(dataset.ids_of(all_images), dataset.imgid.tolist()))
    keys = matrix.ids.tolist() if matrix.names is None else [name for name in matrix.names if name]
    if len({*keys}) < len(keys):
        ((key, _),) = Counter(keys).most_common(1)
        raise InputError(f'{matrix.path}: has features of {key} more than once')
    if matrix.names is None:
        return numpy.array([ids.get(key, -1) for key in keys], int)
    names = dataset.filename.tolist()
    found = [_match(matrix.names, names, dataset.imgid, shorten) for shorten in SHORTENED]
    found.append(_look_up(map(_to_id, matrix.names), ids))
    # The first of those that find most.
    best = max(range(len(found)), key=lambda way: (found[way] >= 0).sum())
    if 2 <= best < len(SHORTENED):
        warnings.warn(
            f'{matrix.path}: images are found by the names of their files without folders',
            InputWarning,
            stacklevel=2,
        )
    return found[best]


def _match(names, expected, imgids, shorten):
    """Returns the ``imgid`` of each name, -1 where there is none or it is ambiguous."""
    table = {}
    for name, imgid in zip(map(shorten, expected), imgids.tolist()):
        table[name] = -1 if name in table else imgid
    return _look_up(map(shorten, names), {**table, '': -1})


def _look_up(keys, table):
    found = numpy.array([table.get(key, -1) for key in keys], int)
    imgids, counts = numpy.unique(found, return_counts=True)
    found[numpy.isin(found, imgids[counts > 1])] = -1
    return found


def _to_id(name):
    return int(name) if name.isascii() and name.isdecimal() and len(name) < 20 else None


def _without_suffix(name):
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


# What names are compared by, strictest first.
SHORTENED = (
    str,
    _without_suffix,
    os.path.basename,
    lambda name: _without_suffix(os.path.basename(name)),
)
