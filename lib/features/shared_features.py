"""Features in memory that the processes on a machine share, or partly on the disk."""

import functools
import warnings

import numpy

from lib.errors import InputError, InputWarning
from lib.features.feature_file import Features
from lib.features.feature_matrix import check_features_memory
from lib.features.feature_source import ExternalSource
from lib.features.gpu_memory import make_allocator, send_features
from lib.features.stored_features import StoredFeatures


def load_shared_features(
    paths, dataset, images, device, feature_type, processes, memory=None, combine=None
) -> Features:
    """Reads features once on each machine.

    Args:
        paths (list of str): The files, which all machines see, in any format of
            :func:`lib.features.feature_file.open_features`. Their rows follow one another, unless
            they name their images.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        images (array): Indices of its images that are needed, (n,), integers.
        device (chainer.backend.Device): Where the features are needed.
        feature_type (str): See :func:`lib.features.gpu_memory.send_features`.
        processes (lib.processes.Processes): All of them must call this function.
        memory (float): GiB of each machine's memory that the features may take; the remaining rows
            stay on the disk. By default all rows are read into memory.
        combine (str): One of :data:`lib.features.feature_source.COMBINATIONS`, if each file has
            features of all images.

    Returns:
        Features: The features, row ``n`` for ``imgid`` ``n``; the array is not to be changed. It
        may be :class:`lib.features.stored_features.StoredFeatures`.

    Raises:
        InputError: If the files cannot be read, do not belong together, or lack images, or their
            features are NaN or infinite.
    """
    allocate = make_allocator(device, feature_type)  # checks the type, too
    if combine is not None and len(paths) > 1:
        if memory is not None:
            raise InputError('cannot be used for features on the disk', option='combine')
        files = [_arranged([path], dataset, images) for path in paths]
        load = functools.partial(_combine, files, combine)
        features = _load_once(load, allocate, processes)
    else:
        stored = _arranged(paths, dataset, images)
        features = _load_part(stored, allocate, feature_type, processes, memory)
    processes.compute_on_main(features.check_images, dataset.imgid[images])
    return features


def _arranged(paths, dataset, images):
    stored = StoredFeatures(paths)
    stored.arrange(dataset, images)
    return stored


def _load_part(stored, allocate, feature_type, processes, memory):
    """Returns features of which as many rows are in memory as are wanted."""
    n_rows = len(stored)
    if memory is not None:
        n_rows = min(n_rows, int(memory * 2**30) * n_rows // stored.nbytes)

    def load(allocate):
        return Features(stored.load(n_rows, allocate), stored.source, stored.path)

    if n_rows == len(stored):
        return _load_once(load, allocate, processes)
    if feature_type == 'float16':
        raise InputError('cannot be used for features on the disk', option='float16_features')
    stored.open(n_rows)
    if n_rows:
        stored.keep(_load_once(load, numpy.empty, processes).array)
    warnings.warn(
        f'the features of {n_rows:,} of {len(stored):,} images are kept in memory, the others are '
        'read for each batch',
        InputWarning,
        stacklevel=3,
    )
    return Features(stored, stored.source, stored.path)


def _combine(files, combine, allocate):
    """Returns one vector of each image, from several.

    Args:
        files (list of lib.features.stored_features.StoredFeatures): Each has all images.
        combine (str): One of :data:`lib.features.feature_source.COMBINATIONS`.
        allocate (callable): See :func:`lib.features.feature_file.load_features`.
    """
    names, sizes = [file.path for file in files], [file.shape[1] for file in files]
    path = ' and '.join(names)
    n_rows = min(map(len, files))
    is_average = combine == 'average'
    if is_average and len({*sizes}) > 1:
        raise InputError(
            f'average: {path} have features of sizes {", ".join(map(str, sizes))}', 'combine'
        )
    shape = n_rows, sizes[0] if is_average else sum(sizes)
    check_features_memory(path, shape)
    array = allocate(shape, 'float32')
    if is_average:
        array[...] = 0
        for file in files:
            file.copy_rows(array, add=True)
        array /= len(files)
    else:
        for file, end in zip(files, numpy.cumsum(sizes)):
            file.copy_rows(array[:, end - file.shape[1] : end])
    return Features(array, ExternalSource.of(*names), path)


def move_to_device(features, device, processes, feature_type='float32'):
    """Moves features to where they are needed.

    If the device has a copy of its own then, all arrays that the processes share are freed.

    Args:
        features (Features): What :func:`load_shared_features` returned; its array is replaced by
            what :func:`lib.features.gpu_memory.send_features` returns.
        device, processes, feature_type: As for :func:`load_shared_features`.

    Raises:
        InputError: If a value exceeds the range of float16.
    """
    array = send_features(features.array, device, feature_type)
    is_replaced = array is not features.array
    features.array = array
    if is_replaced:
        processes.free_arrays()


def _load_once(load, allocate, processes):
    """Returns features that one process on each machine loads.

    Args:
        load (callable): Takes a function that allocates an array, and returns features.
        allocate (callable): What to allocate with if there are no other processes.
        processes (lib.processes.Processes): All of them must call this function.
    """
    if processes.size == 1:
        return load(allocate)

    def load_parts(allocate):
        features = load(allocate)
        return features.array, (features.source, features.path)

    array, (source, path) = processes.share_array(load_parts)
    return Features(array, source, path)
