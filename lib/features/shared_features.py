"""Features in memory that the processes on a machine share, or partly on the disk."""

import warnings

import numpy

from lib.errors import InputError, InputWarning
from lib.features.feature_file import Features, load_features
from lib.features.gpu_memory import make_allocator
from lib.features.stored_features import StoredFeatures
from lib.memory import check_memory


def load_shared_features(paths, device, feature_type, processes, memory=None) -> Features:
    """Reads features once on each machine.

    Args:
        paths (list of str): The files, which all machines see: one as for
            :func:`lib.features.feature_file.load_features`, or several in HDF5, whose rows follow
            one another.
        device (chainer.backend.Device): Where the features are needed.
        feature_type (str): See :func:`lib.features.gpu_memory.send_features`.
        processes (lib.processes.Processes): All of them must call this function.
        memory (float): GiB of each machine's memory that the features may take; the remaining rows
            stay on the disk, for which the files must be HDF5. There is no limit by default.

    Returns:
        Features: The features; the array is not to be changed. It may be
        :class:`lib.features.stored_features.StoredFeatures`.

    Raises:
        InputError: If the files cannot be read, or do not belong together.
    """
    allocate = make_allocator(device, feature_type)  # checks the type, too
    if len(paths) == 1 and memory is None:
        return _load_once(lambda allocate: load_features(paths[0], allocate), allocate, processes)
    stored = StoredFeatures(paths)
    n_rows = len(stored)
    if memory is not None:
        n_rows = min(n_rows, int(memory * 2**30) * n_rows // stored.nbytes)

    def load(allocate):
        n_bytes = stored.nbytes * n_rows // len(stored)
        check_memory(n_bytes, f'must limit {stored.path}, which', 'features_memory')
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
        stacklevel=2,
    )
    return Features(stored, stored.source, stored.path)


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
