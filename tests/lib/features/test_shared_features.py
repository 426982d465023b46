import weakref

import numpy

from lib.features.feature_file import Features
from lib.features.shared_features import move_to_device
from lib.processes import Processes


def test_the_memory_of_features_that_a_gpu_has_a_copy_of_is_freed(device):
    class FreedProcesses(Processes):
        n_freed = 0

        def free_arrays(self):
            assert in_memory() is None
            self.n_freed += 1

    array = numpy.random.RandomState(0).rand(6, 4).astype('float32')
    expected, in_memory = array.copy(), weakref.ref(array)
    features, processes = Features(array, path='feats.mat'), FreedProcesses()
    del array
    move_to_device(features, device, processes)
    if device.xp is numpy:
        assert features.array is in_memory()
    assert processes.n_freed == (device.xp is not numpy)
    assert isinstance(features.array, device.xp.ndarray)
    numpy.testing.assert_array_equal(device.xp.asarray(features.array).tolist(), expected)
