"""What a training run was made from: enough to repeat it, and to see what has changed."""

import platform
import sys

import chainer
import h5py
import numpy
from chainer.backends import cuda

from lib import VERSION


def record_run(flags: dict, data: dict, device) -> dict:
    """Describes a training run, in JSON values.

    Args:
        flags (dict): The value of every flag, the seed among them.
        data (dict): What else was read: a file's path and fingerprint for each kind of data.
        device (chainer.backend.Device): Where the network is trained.
    """
    return {
        'command': sys.argv,
        'flags': flags,
        'data': data,
        'device': _name_of(device),
        'versions': {
            'show-and-tell-chainer': VERSION,
            'python': platform.python_version(),
            **{package.__name__: package.__version__ for package in _packages(device)},
        },
    }


def fingerprint_of_captions(run) -> str | None:
    """Returns the fingerprint of the captions of a training run.

    Args:
        run: What a model file says of it, JSON values: what :func:`record_run` returned, or
            anything else.

    Returns:
        str: See :meth:`lib.captions.dataset.CaptionDataset.fingerprint`; None if unknown.
    """
    data = run.get('data') if isinstance(run, dict) else None
    return data.get('captions') if isinstance(data, dict) else None


def _packages(device):
    return [chainer, numpy, h5py, *([cuda.cupy] if device.xp is not numpy else [])]


def _name_of(device):
    if device.xp is numpy:
        return f'CPU {platform.machine()}'
    return cuda.cupy.cuda.runtime.getDeviceProperties(device.device.id)['name'].decode()
