"""Dropout masks that need few random numbers on a CPU and no memory on a GPU.

Both draw from ``numpy.random`` alone, whose state is what a training run must keep to continue
with the same masks.
"""

import chainer
import numpy

from models.fast.kernels import random_key

# Two random bytes per value, so that the ratio is exact to 2 ** -17; Chainer draws eight.
N_LEVELS = 1 << 16
# ``struct Dropout`` of random.cuh.
KERNEL_ARGUMENT = numpy.dtype(
    [('key', 'uint64'), ('scale', 'float64'), ('threshold', 'uint32'), ('padding', 'uint32')]
)


def dropout_mask(shape, dtype, ratio):
    """Draws the factors by which dropout multiplies an array, on a CPU.

    Args:
        shape (tuple of int): Shape of the array.
        dtype (dtype): Its type.
        ratio (float): Share of the values to drop, in [0, 1).

    Returns:
        array: 0 or ``1 / (1 - ratio)``; None, which stands for ones, when not training.
    """
    if not _is_active(ratio):
        return None
    size = int(numpy.prod(shape))
    levels = numpy.frombuffer(numpy.random.bytes(2 * size), 'uint16').reshape(shape)
    mask = (levels >= round(ratio * N_LEVELS)).astype(dtype)
    mask *= mask.dtype.type(1 / (1 - ratio))
    return mask


def dropout_argument(ratio):
    """Draws a mask in the form that kernels take, which compute its values where needed.

    Args:
        ratio (float): Share of the values to drop, in [0, 1).

    Returns:
        numpy.void: A ``Dropout`` of ``random.cuh``.
    """
    if not _is_active(ratio):
        return numpy.array((0, 1, 0, 0), KERNEL_ARGUMENT)[()]
    threshold = min(round(ratio * 2**32), 2**32 - 1)
    return numpy.array((random_key(), 1 / (1 - ratio), threshold, 0), KERNEL_ARGUMENT)[()]


def _is_active(ratio):
    return chainer.config.train and ratio > 0
