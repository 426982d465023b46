"""Layers of a convolutional network as they run without gradients.

Arrays have Chainer's shapes, (N, C, H, W), but lie in memory with the channels last: what
is copied, compared or multiplied then comes in long runs.
"""

from models import winograd

import chainer
import numpy
from chainer.utils import conv

# Values that convolutions unfold at a time. On a CPU they stay in its caches, and memory does not
# grow with the pictures; a GPU wants large products.
BLOCK_CPU, BLOCK_GPU = 1 << 21, 1 << 27
# Winograd's transforms take as long as the products of so few channels.
WINOGRAD_CHANNELS = 16


class Convolution:
    """Stands in for a ``Convolution2D`` link, and is it where gradients are wanted.

    Chainer's own unfolds all pictures of a batch into one array, nine times their size for
    3 x 3 kernels: 4 GB for VGG19 and 8 pictures.

    Args:
        link (chainer.links.Convolution2D): Convolution without groups.
    """

    def __init__(self, link):
        self._link = link
        self._weights = self._transformed = None

    def __call__(self, x):
        """Convolves pictures (N, C, H, W); returns a variable (N, O, H', W')."""
        link = self._link
        if chainer.config.enable_backprop:
            self._weights = None    # training may change them in place
            return link(x)
        x = chainer.as_variable(x)
        (height, width), n_in = _out_size(x.shape, link), link.W.shape[1]
        if min(height, width) <= 0 or x.shape[1] != n_in:
            return link(x)    # says what is wrong
        y = (self._winograd if self._is_winograd() else self._unfold)(x.array, height, width)
        return chainer.as_variable(y.transpose(0, 3, 1, 2))

    def _is_winograd(self):
        link = self._link
        return (link.W.shape[2:] == (3, 3) and _pair(link.stride) == _pair(link.dilate) == (1, 1)
                and link.W.shape[1] >= WINOGRAD_CHANNELS and link.W.dtype == 'float32')

    def _winograd(self, x, height, width):
        kernels = self._weights_as(winograd.transform_kernels)
        full_height, full_width = (-(-size // winograd.TILE) * winograd.TILE
                                   for size in (height, width))
        y = chainer.backend.get_array_module(x).empty(
            (len(x), full_height, full_width, kernels.shape[2]), x.dtype)
        winograd.convolve(_pad(x, _pair(self._link.pad), full_height + 2, full_width + 2),
                          kernels, self._bias(), y, _block_values(x))
        return y[:, :height, :width]

    def _unfold(self, x, height, width):
        """Multiplies what each output pixel sees, some rows of pixels at a time."""
        xp = chainer.backend.get_array_module(x)
        weights = self._weights_as(lambda W: xp.ascontiguousarray(
            W.transpose(2, 3, 1, 0)).reshape(-1, len(W)))
        n_in, *kernel = self._link.W.shape[1:]
        stride, dilate = _pair(self._link.stride), _pair(self._link.dilate)
        padded = _pad(x, _pair(self._link.pad), *(
            (size - 1) * step + (k - 1) * d + 1
            for size, step, k, d in zip((height, width), stride, kernel, dilate)))
        rows_of, columns_of = padded.strides[1:3]
        windows = xp.lib.stride_tricks.as_strided(
            padded, (len(x), height, width, *kernel, n_in),
            (padded.strides[0], stride[0] * rows_of, stride[1] * columns_of,
             dilate[0] * rows_of, dilate[1] * columns_of, padded.strides[3]))
        y, bias = xp.empty((len(x), height, width, weights.shape[1]), x.dtype), self._bias()
        n_rows = max(1, _block_values(x) // (width * len(weights)))
        for image in range(len(x)):
            for row in range(0, height, n_rows):
                block = image, slice(row, row + n_rows)
                xp.matmul(windows[block].reshape(-1, len(weights)), weights,
                          out=y[block].reshape(-1, y.shape[3]))
                if bias is not None:
                    y[block] += bias
        return y

    def _bias(self):
        return None if self._link.b is None else self._link.b.array

    def _weights_as(self, transform):
        """Returns the weights transformed, once for as long as they are the same array."""
        if self._weights is not self._link.W.array:
            self._weights = self._link.W.array
            self._transformed = transform(self._weights)
        return self._transformed


def max_pooling_2d(x, ksize, stride, pad):
    """Chainer's function of this name, its windows covering all pixels, as Caffe has it."""
    if chainer.config.enable_backprop:
        return chainer.functions.max_pooling_2d(x, ksize, stride, pad)
    x = chainer.as_variable(x).array
    ksize, stride, pad = _pair(ksize), _pair(stride), _pair(pad)
    out_size = [conv.get_conv_outsize(size, k, s, p, cover_all=True)
                for size, k, s, p in zip(x.shape[2:], ksize, stride, pad)]
    if min(out_size) <= 0:
        return chainer.functions.max_pooling_2d(x, ksize, stride, pad)    # says what is wrong
    xp = chainer.backend.get_array_module(x)
    y = xp.full((len(x), *out_size, x.shape[1]), -xp.inf, x.dtype).transpose(0, 3, 1, 2)
    for offset in numpy.ndindex(*ksize):
        of_x, of_y = [...], [...]
        for size, n, k, s, p in zip(x.shape[2:], out_size, offset, stride, pad):
            # The windows whose pixel at this offset lies inside the picture.
            first, last = max(0, -(-(p - k) // s)), min(n - 1, (size - 1 + p - k) // s)
            of_x.append(slice(first * s + k - p, max(0, last * s + k - p + 1), s))
            of_y.append(slice(first, max(first, last + 1)))
        part = y[tuple(of_y)]
        xp.maximum(part, x[tuple(of_x)], out=part)
    return chainer.as_variable(y)


def relu_in_place(x):
    """Rectifies the array that a convolution or a linear layer has just made."""
    if chainer.config.enable_backprop:
        return chainer.functions.relu(x)
    xp = chainer.backend.get_array_module(x.array)
    xp.maximum(x.array, 0, out=x.array)
    return x


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _block_values(x):
    return BLOCK_CPU if isinstance(x, numpy.ndarray) else BLOCK_GPU


def _out_size(shape, link):
    return [conv.get_conv_outsize(size, k, stride, pad, d=dilate) for size, k, stride, pad, dilate
            in zip(shape[2:], link.W.shape[2:], *map(_pair, (link.stride, link.pad, link.dilate)))]


def _pad(x, pad, height, width):
    """Returns pictures (N, C, H, W) as (N, height, width, C), in zeros that begin at ``pad``."""
    x = x.transpose(0, 2, 3, 1)
    if pad == (0, 0) and x.shape[1:3] == (height, width) and x.flags.c_contiguous:
        return x
    padded = chainer.backend.get_array_module(x).zeros(
        (len(x), height, width, x.shape[3]), x.dtype)
    inside = padded[:, pad[0]:pad[0] + x.shape[1], pad[1]:pad[1] + x.shape[2]]
    inside[...] = x[:, :inside.shape[1], :inside.shape[2]]
    return padded
