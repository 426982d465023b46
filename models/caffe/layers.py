"""Layers of a convolutional network that are fast without gradients.

With gradients (``chainer.config.enable_backprop``) they are Chainer's own layers. Arrays have
Chainer's shapes, (N, C, H, W), but are stored with the channels last: what is copied,
compared or multiplied is then contiguous.
"""

import chainer
import numpy
from chainer.utils import conv

from models.caffe import winograd
from models.caffe.sliding_windows import sliding_windows

# Values that convolutions unfold at a time. On a CPU they stay in its caches, and memory does
# not grow with the number of images; a GPU needs large products.
BLOCK_CPU, BLOCK_GPU = 1 << 21, 1 << 27
# With fewer channels, Winograd's transforms take as long as the products they save.
WINOGRAD_MIN_CHANNELS = 16


class Convolution:
    """Stands in for a ``Convolution2D`` link.

    Chainer's own convolution unfolds all images of a batch into one array, nine times their
    size for 3 x 3 kernels: 4 GB for VGG19 and 8 images.

    Args:
        link (chainer.links.Convolution2D): A convolution without groups.
    """

    def __init__(self, link):
        self._link = link
        self._W = self._transformed_weights = None

    def __call__(self, x):
        """Convolves images (N, C, H, W); returns a variable (N, O, H', W')."""
        link = self._link
        if chainer.config.enable_backprop:
            self._W = None  # an optimizer may change the weights in place
            return link(x)
        x = chainer.as_variable(x)
        out_size = self._out_size(x.shape[2:])
        if min(out_size) <= 0 or x.shape[1] != link.W.shape[1]:
            return link(x)  # raises the error that explains what is wrong
        convolve = self._convolve_winograd if self._can_use_winograd() else self._convolve_unfolded
        return chainer.as_variable(convolve(x.array, *out_size).transpose(0, 3, 1, 2))

    def _out_size(self, in_size):
        link = self._link
        geometry = zip(
            in_size, link.W.shape[2:], _pair(link.stride), _pair(link.pad), _pair(link.dilate)
        )
        return [
            conv.get_conv_outsize(size, kernel, stride, pad, d=dilate)
            for size, kernel, stride, pad, dilate in geometry
        ]

    def _can_use_winograd(self):
        link = self._link
        return (
            link.W.shape[2:] == (3, 3)
            and _pair(link.stride) == _pair(link.dilate) == (1, 1)
            and link.W.shape[1] >= WINOGRAD_MIN_CHANNELS
            and link.W.dtype == 'float32'
        )

    def _convolve_winograd(self, x, height, width):
        """Returns the convolution of ``x``, (N, height, width, O)."""
        kernels = self._transform_weights(winograd.transform_kernels)
        # Whole tiles; what exceeds the output is cut off.
        full_height, full_width = (
            -(-size // winograd.TILE) * winograd.TILE for size in (height, width)
        )
        padded = _pad(x, _pair(self._link.pad), (full_height + 2, full_width + 2))
        y = winograd.convolve(padded, kernels, self._bias, _block_values(x))
        return y[:, :height, :width]

    def _convolve_unfolded(self, x, height, width):
        """Multiplies the pixels under each kernel position, some rows of them at a time."""
        xp = chainer.backend.get_array_module(x)
        weights = self._transform_weights(
            lambda W: xp.ascontiguousarray(W.transpose(2, 3, 1, 0)).reshape(-1, len(W))
        )
        windows = self._windows(x, height, width)
        y = xp.empty((len(x), height, width, weights.shape[1]), x.dtype)
        n_rows = max(1, _block_values(x) // (width * len(weights)))
        for image in range(len(x)):
            for row in range(0, height, n_rows):
                block = image, slice(row, row + n_rows)
                xp.matmul(
                    windows[block].reshape(-1, len(weights)),
                    weights,
                    out=y[block].reshape(-1, y.shape[3]),
                )
                if self._bias is not None:
                    y[block] += self._bias
        return y

    def _windows(self, x, height, width):
        """Returns a view of the pixels under each kernel position, (N, H', W', kh, kw, C)."""
        link = self._link
        stride, dilate = _pair(link.stride), _pair(link.dilate)
        extent = [(k - 1) * d + 1 for k, d in zip(link.W.shape[2:], dilate)]
        padded_size = [(size - 1) * s + e for size, s, e in zip((height, width), stride, extent)]
        padded = _pad(x, _pair(link.pad), padded_size)
        windows = sliding_windows(padded, *extent)
        return windows[:, :: stride[0], :: stride[1], :: dilate[0], :: dilate[1]]

    @property
    def _bias(self):
        return None if self._link.b is None else self._link.b.array

    def _transform_weights(self, transform):
        """Returns the transformed weights, computed anew only if their array was replaced."""
        if self._W is not self._link.W.array:
            self._W = self._link.W.array
            self._transformed_weights = transform(self._W)
        return self._transformed_weights


def max_pooling_2d(x, ksize, stride, pad):
    """Chainer's function of this name with ``cover_all=True``, as in Caffe.

    Args:
        x (chainer.Variable or array): Images, (N, C, H, W).
        ksize, stride, pad (int or pair of int): As for Chainer's function.

    Returns:
        chainer.Variable: (N, C, H', W').
    """
    if chainer.config.enable_backprop:
        return chainer.functions.max_pooling_2d(x, ksize, stride, pad)
    x = chainer.as_variable(x).array
    ksize, stride, pad = _pair(ksize), _pair(stride), _pair(pad)
    out_size = [
        conv.get_conv_outsize(size, k, s, p, cover_all=True)
        for size, k, s, p in zip(x.shape[2:], ksize, stride, pad)
    ]
    if min(out_size) <= 0:
        # Raises the error that explains what is wrong.
        return chainer.functions.max_pooling_2d(x, ksize, stride, pad)
    xp = chainer.backend.get_array_module(x)
    # From the first to the last pixel of a window's corner.
    span = [(size - 1) * s + 1 for size, s in zip(out_size, stride)]
    padded = _pad(x, pad, [n + k - 1 for n, k in zip(span, ksize)], fill=-xp.inf)
    y = None
    for row, column in numpy.ndindex(*ksize):
        shifted = padded[:, row : row + span[0] : stride[0], column : column + span[1] : stride[1]]
        y = shifted.copy() if y is None else xp.maximum(y, shifted, out=y)
    return chainer.as_variable(y.transpose(0, 3, 1, 2))


def relu_in_place(x):
    """Rectifies a variable's array, which nothing else may use; returns the variable."""
    if chainer.config.enable_backprop:
        return chainer.functions.relu(x)
    xp = chainer.backend.get_array_module(x.array)
    xp.maximum(x.array, 0, out=x.array)
    return x


def _pair(value):
    # Caffemodels have pairs that are neither tuples nor lists.
    return (value, value) if isinstance(value, int) else tuple(value)


def _block_values(x):
    return BLOCK_CPU if isinstance(x, numpy.ndarray) else BLOCK_GPU


def _pad(x, pad, size, fill=0):
    """Returns images (N, C, H, W) as (N, *size, C), cropped or filled, beginning at ``pad``."""
    x = x.transpose(0, 2, 3, 1)
    if pad == (0, 0) and x.shape[1:3] == tuple(size) and x.flags.c_contiguous:
        return x
    xp = chainer.backend.get_array_module(x)
    padded = xp.full((len(x), *size, x.shape[3]), fill, x.dtype)
    inside = padded[:, pad[0] : pad[0] + x.shape[1], pad[1] : pad[1] + x.shape[2]]
    inside[...] = x[:, : inside.shape[1], : inside.shape[2]]
    return padded
