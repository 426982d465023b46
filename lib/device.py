"""The device that a program computes on, its random numbers, and the host's memory."""

import importlib.util
import re
from pathlib import Path

import chainer
import numpy

from lib.errors import InputError
from models.fast.products import set_tf32


def select_device(gpu: int, tf32: bool = False) -> chainer.backend.Device:
    """Makes a device current.

    Args:
        gpu (int): CUDA device number, negative for the CPU.
        tf32 (bool): Round the factors of float32 matrix products to TensorFloat-32, which
            has 10 bits of mantissa and is several times as fast on Ampere and later GPUs. This
            applies to all that the process computes, until the device is selected again.

    Returns:
        chainer.backend.Device: The device.

    Raises:
        InputError: If the GPU is not available, or ``tf32`` is set on a CPU.
    """
    if gpu < 0:
        if tf32:
            raise InputError('needs a GPU', option='tf32')
        device = chainer.get_device('@numpy')
        device.use()
        return device
    try:
        device = chainer.get_device(f'@cupy:{gpu}')
        device.use()
        device.xp.zeros(1)
        set_tf32(tf32)
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        advice = '-1 is the CPU'
        if importlib.util.find_spec('cupy') is None:
            advice += '; "make setup CUDA=13" installs CuPy for CUDA 13, CUDA=12 for CUDA 12'
        raise InputError(
            f'{gpu}: this GPU cannot be used ({reason}); {advice}', option='gpu'
        ) from error
    return device


def set_seed(seed: int, *numbers: int):
    """Seeds NumPy's random numbers, from which those on a GPU follow.

    Args:
        seed (int): The seed.
        numbers (int): Such as a process and an iteration, which have random numbers of their own.
    """
    numpy.random.seed([seed, *numbers] if any(numbers) else seed)


def available_memory() -> int | None:
    """Returns how many bytes of the host's memory are free, None if that is unknown."""
    try:
        match = re.search(r'MemAvailable: *(\d+) kB', Path('/proc/meminfo').read_text())
    except OSError:  # another operating system
        return None
    return match and 1024 * int(match[1])


def check_memory(n_bytes: int, what: str):
    """Checks that something fits into the host's memory; if not, the kernel would kill the program.

    Args:
        n_bytes (int): The memory that it needs.
        what (str): What needs it, for the error message.

    Raises:
        InputError: If it does not fit.
    """
    available = available_memory()
    if available is not None and n_bytes > available:
        raise InputError(
            f'{what} would take {n_bytes / 2**30:,.1f} GiB of memory, but only '
            f'{available / 2**30:,.1f} GiB are available'
        )
