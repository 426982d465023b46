"""Dropout whose random numbers cost little on a CPU."""

import chainer
import chainer.functions as F
import numpy

# A choice takes two bytes, so that the ratio is exact to 2 ** -17; Chainer draws eight.
CHOICES = 1 << 16


def dropout(x, ratio):
    """Sets a random share of values to zero and scales the others up, while training.

    On a CPU the randomness is that of ``numpy.random``. On a GPU this is Chainer's dropout.

    Args:
        x (chainer.Variable or array): Values of any shape, floating point.
        ratio (float): The share, in [0, 1).

    Returns:
        chainer.Variable: As ``x``; without training ``x`` itself.
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
        x, = inputs
        choices = numpy.frombuffer(numpy.random.bytes(2 * x.size), 'uint16').reshape(x.shape)
        self.mask = (choices >= round(self.ratio * CHOICES)).astype(x.dtype)
        self.mask *= x.dtype.type(1 / (1 - self.ratio))
        return x * self.mask,

    def backward(self, indexes, grad_outputs):
        return grad_outputs[0] * self.mask,
