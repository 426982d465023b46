"""Features in memory that the processes on a machine share."""

from lib.features.feature_file import Features, load_features
from lib.features.gpu_memory import make_allocator


def load_shared_features(path, device, feature_type, processes) -> Features:
    """Reads features as :func:`lib.features.feature_file.load_features`, once on each machine.

    Args:
        path (str): The file, which all machines see.
        device (chainer.backend.Device): Where they are needed.
        feature_type (str): See :func:`lib.features.gpu_memory.send_features`.
        processes (lib.processes.Processes): All of them must call this function.

    Returns:
        Features: The features; the array is not to be changed.
    """
    allocate_alone = make_allocator(device, feature_type)  # checks the type, too
    if processes.size == 1:
        return load_features(path, allocate_alone)

    def load(allocate):
        features = load_features(path, allocate)
        return features.array, (features.source, features.path)

    array, (source, path) = processes.share_array(load)
    return Features(array, source, path)
