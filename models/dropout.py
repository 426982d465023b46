"""Dropout that needs few random numbers on a CPU."""

import chainer
import chainer.functions as F
import numpy

# Two random bytes per value, so that the ratio is exact to 2 ** -17; Chainer draws eight.
N_LEVELS = 1 << 16


def dropout(x, ratio):
    """Sets random values to zero and scales the others up, in training only.

    On a CPU it draws from ``numpy.random``. On a GPU this is Chainer's dropout.

    Args:
        x (chainer.Variable or array): Values of any shape, floating point.
        ratio (float): Share of the values to drop, in [0, 1).

    Returns:
        chainer.Variable: Of the same shape; ``x`` itself when not training.
    """
    if not chainer.config.train or ratio == 0:
        return chainer.as_variable(x)
    if chainer.backend.get_array_module(x) is not numpy:
        return F.dropout(x, ratio)
    return Dropout(ratio).apply((x,))[0]


class Dropout(chainer.FunctionNode):
    """See :func:`dropout`."""

    def __init__(self, ratio):
        super().__init__()
        self.ratio = ratio

    def forward(self, inputs):
        (x,) = inputs
        levels = numpy.frombuffer(numpy.random.bytes(2 * x.size), 'uint16').reshape(x.shape)
        self.mask = (levels >= round(self.ratio * N_LEVELS)).astype(x.dtype)
        self.mask *= x.dtype.type(1 / (1 - self.ratio))
        return (x * self.mask,)

    def backward(self, indexes, grad_outputs):
        return (grad_outputs[0] * self.mask,)
