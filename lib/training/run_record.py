"""What a training run was made from: enough to repeat it, and to see what has changed."""

import platform
import sys

import chainer
import h5py
import numpy
from chainer.backends import cuda

from lib import VERSION


def record_run(flags: dict, data: dict, device, processes) -> dict:
    """Describes a training run, in JSON values.

    Args:
        flags (dict): The value of every flag, the seed among them.
        data (dict): A fingerprint of each kind of data that was read.
        device (chainer.backend.Device): Where the network is trained.
        processes (lib.processes.Processes): Those that train it.
    """
    return {
        'command': sys.argv,
        'flags': flags,
        'data': data,
        'device': _name_of(device),
        'processes': processes.size,
        'versions': {
            'show-and-tell-chainer': VERSION,
            'python': platform.python_version(),
            **{package.__name__: package.__version__ for package in _packages(device)},
        },
    }


def captions_fingerprint(run) -> str | None:
    """Returns the fingerprint of the captions that a model was trained on.

    Args:
        run (dict): What :func:`record_run` returned; None if unknown, and of a mean of models, how
            each of them was trained.

    Returns:
        str: See :meth:`lib.captions.dataset.CaptionDataset.fingerprint`; None if unknown.
    """
    return (run or {}).get('data', {}).get('captions')


def _packages(device):
    return [chainer, numpy, h5py, *([cuda.cupy] if device.xp is not numpy else [])]


def _name_of(device):
    if device.xp is numpy:
        return f'CPU {platform.machine()}'
    return cuda.cupy.cuda.runtime.getDeviceProperties(device.device.id)['name'].decode()
