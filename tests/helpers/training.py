"""Training on a small data set through train.py."""

import json

import h5py
import numpy

from tests.helpers.scripts import run_script

SMALL = '--hidden 16 --embed 12 --batch-size 8 --lr 0.01 --lr-schedule step'


def train(data, output, *flags, small=SMALL, device=None):
    """Runs train.py on a folder's captions and features.

    Args:
        data (pathlib.Path): From the fixture of this name.
        output (pathlib.Path): The output folder.
        flags (str or pathlib.Path): More flags; a string may hold several of them.
        small (str): The flags that make the training fast.
        device (chainer.backend.Device): Where to train; by default on the CPU.
    """
    inputs = ['-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', output]
    if device is not None and device.xp is not numpy:
        flags = ('-g 0', *flags)
    for flag in (small, *flags):
        inputs += flag.split() if isinstance(flag, str) else [flag]
    return run_script('train.py', *inputs)


def read_log(folder):
    return json.loads((folder / 'log').read_text())


def validation_losses(folder):
    return [entry['validation/main/loss'] for entry in read_log(folder)]


def arrays_of(path):
    """Returns all arrays of an HDF5 file by name."""
    arrays = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            arrays[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(add)
    return arrays


def assert_same_training(folder, expected_folder, names):
    """Checks that the named files and the logs of two trainings are equal, but for the time."""
    for name in names:
        arrays, expected = arrays_of(folder / name), arrays_of(expected_folder / name)
        assert arrays.keys() == expected.keys()
        for key in arrays:
            # Not the times, and not how each was run.
            if not key.endswith(('elapsed_time', '_log', 'run')):
                numpy.testing.assert_array_equal(arrays[key], expected[key], err_msg=key)
    for entry, expected in zip(read_log(folder), read_log(expected_folder), strict=True):
        assert entry.pop('elapsed_time') and expected.pop('elapsed_time')
        entry.pop('run', None), expected.pop('run', None)
        assert entry == expected
