"""Which row of some files holds the features of which image."""

import os
import warnings
from collections import Counter

import numpy

from lib.errors import InputError, InputWarning
from lib.features.arrays import KEYS
from lib.files.image_names import without_suffix
from lib.files.text import to_nfc

# Images that an error message names.
N_NAMED = 3


def find_rows(files, dataset, images):
    """Finds the rows of images in files whose rows follow one another.

    Args:
        files (list of lib.features.formats.FeatureFile): The files.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        images (array): Indices of its images that must be there.

    Returns:
        array: The row of each ``imgid``, -1 where there is none, (N,), int64; None if that is the
        ``imgid`` itself: the files do not name their images, or name them in this order.

    Raises:
        InputError: If an image has no row, or more than one.
    """
    unnamed = [file for file in files if not file.keys]
    if len(unnamed) == len(files):
        _check_unnamed(files, dataset)
        return None
    if unnamed:
        raise InputError(
            f'{unnamed[0].path}: does not name its images, but other files do, so their order is '
            'unclear'
        )
    if _are_in_order(files, dataset):
        return None
    rows = numpy.full(int(dataset.imgid.max()) + 1, -1)
    first_rows = numpy.cumsum([0, *(len(file.rows) for file in files)])
    for file, first in zip(files, first_rows):
        imgids = _find_imgids(file, dataset)
        (known,) = numpy.nonzero(imgids >= 0)
        before = rows[imgids[known]]
        if (before >= 0).any():
            other = files[numpy.searchsorted(first_rows, before.max(), 'right') - 1]
            name = dataset.filename[dataset.imgid == imgids[known][before.argmax()]][0]
            raise InputError(
                f'is needed: {other.path} and {file.path} both have features of {name}; '
                'concatenate or average them',
                'combine',
            )
        rows[imgids[known]] = first + known
    _check_complete(rows, files, dataset, images)
    return rows


def _check_unnamed(files, dataset):
    """Notes that rows are taken as they come, and checks that there are as many as images."""
    paths = ', '.join(file.path for file in files)
    n_images = int(dataset.imgid.max()) + 1
    n_rows = sum(len(file.rows) for file in files)
    size = files[0].rows.shape[1]
    if n_rows != n_images == size:
        raise InputError(
            f'{paths}: has {n_rows} rows of {size} values, but there are {n_images} images; save '
            'the transpose'
        )
    if n_images < n_rows == len(dataset.image):
        raise InputError(
            f'{paths}: has {n_rows} rows, one for each caption; give one for each of the '
            f'{n_images} images'
        )
    note = f'{paths}: features are unnamed: taken in the order of imgid, that of the data set'
    if n_rows > n_images:
        note += f', which has {n_images} images; {n_rows - n_images} rows at the end are not used'
    warnings.warn(note, InputWarning, stacklevel=4)


def _are_in_order(files, dataset):
    """Returns whether row ``n`` is that of ``imgid`` ``n`` by its name, and no other one is.

    That settles what names alone do not: several images of a data set may share one.
    """
    if any(len(file.keys) > 1 for file in files):
        return False
    names = numpy.array([key for file in files for key in next(iter(file.keys.values()))], object)
    if len(names) <= dataset.imgid.max():
        return False
    others = numpy.delete(names, dataset.imgid)
    return (names[dataset.imgid] == dataset.filename).all() and not (
        {*others}.intersection(dataset.filename)
    )


def _check_complete(rows, files, dataset, images):
    missing = dataset.filename[images[rows[dataset.imgid[images]] < 0]]
    if not len(missing):
        return
    paths = ', '.join(file.path for file in files)
    shown = ', '.join(missing[:N_NAMED]) + (', ...' if len(missing) > N_NAMED else '')
    message = f'{paths}: no features of {len(missing)} of the {len(images)} images needed: {shown}'
    names, counts = numpy.unique(dataset.filename, return_counts=True)
    if numpy.isin(missing, names[counts > 1]).any():
        message += '; several images of the data set have the same name'
    for file in files:
        for name, keys in file.keys.items():
            shown = ', '.join([str(key) for key in keys if key != ''][:N_NAMED])
            message += f'; {name} in {file.path} begins with {shown}'
    raise InputError(message)


def _find_imgids(file, dataset):
    """Returns the ``imgid`` of each row of a file, -1 for images that the data set lacks."""
    imgids_of = {name: _look_up_keys(file.path, keys, dataset) for name, keys in file.keys.items()}
    best = max(imgids_of, key=lambda name: (imgids_of[name] >= 0).sum())
    imgids = imgids_of[best]
    for name, theirs in imgids_of.items():
        differs = (imgids != theirs) & (imgids >= 0) & (theirs >= 0)
        if differs.any():
            row = int(differs.argmax())
            raise InputError(
                f'{file.path}: {best} and {name} disagree on row {row}: {file.keys[best][row]} and '
                f'{file.keys[name][row]}; remove one of them'
            )
    if (imgids >= 0).any():
        key, count = Counter(key for key in file.keys[best] if key != '').most_common(1)[0]
        if count > 1:
            raise InputError(f'{file.path}: has features of {key} more than once')
        if best not in KEYS and not isinstance(file.keys[best][0], str):
            note = f'{file.path}: rows are those of the images whose ids are in {best}'
            warnings.warn(note, InputWarning, stacklevel=5)
    return imgids


def _look_up_keys(path, keys, dataset):
    """Returns the ``imgid`` of each of some names or ids, -1 for images that the data set lacks."""
    imgids = dataset.imgid.tolist()
    ids = dataset.cocoid.tolist()
    if max(ids) < 0:
        ids = imgids
    imgid_of_id = _unambiguous(ids, imgids)
    if not isinstance(keys[0], str):
        numbers = [_to_id(without_suffix(os.path.basename(name))) for name in dataset.filename]
        by_id = _look_up(keys, imgid_of_id)
        by_number = _look_up(keys, _unambiguous(numbers, imgids))
        n_by_id, n_by_number = (by_id >= 0).sum(), (by_number >= 0).sum()
        if n_by_id == n_by_number and (by_id != by_number).any():
            raise InputError(
                f'{path}: ids may be imgid, or the numbers of files such as {dataset.filename[0]}; '
                'give the names of files instead'
            )
        return by_number if n_by_number > n_by_id else by_id
    # The way that finds most images, and of equals the first, which is the strictest.
    candidates = [
        _look_up(theirs, _unambiguous(ours, imgids))
        for theirs, ours in zip(_ways_to_compare(keys), _ways_to_compare(dataset.filename))
    ]
    candidates.append(_look_up(map(_to_id, keys), imgid_of_id))
    best = numpy.argmax([(imgids_of_rows >= 0).sum() for imgids_of_rows in candidates])
    if best in (2, 3):
        warnings.warn(
            f'{path}: images are found by the names of their files without folders',
            InputWarning,
            stacklevel=2,
        )
    return candidates[best]


def _ways_to_compare(names):
    """Returns lists of file names: as they are, without suffix, without folder, without either."""
    names = [to_nfc(name) for name in names]
    without_folder = [os.path.basename(name) for name in names]
    return (
        names,
        [without_suffix(name) for name in names],
        without_folder,
        [without_suffix(name) for name in without_folder],
    )


def _to_id(name):
    return int(name) if name.isascii() and name.isdecimal() and len(name) < 20 else None


def _unambiguous(names, imgids):
    """Returns the ``imgid`` of each name or id of a data set that only one image has."""
    counts = Counter(names)
    return {
        name: imgid
        for name, imgid in zip(names, imgids)
        if name not in ('', -1, None) and counts[name] == 1
    }


def _look_up(keys, imgid_of):
    """Returns the ``imgid`` of each key, -1 where there is none or several keys have it."""
    imgids = numpy.array([imgid_of.get(key, -1) for key in keys], int)
    distinct, counts = numpy.unique(imgids, return_counts=True)
    imgids[numpy.isin(imgids, distinct[counts > 1])] = -1
    return imgids
