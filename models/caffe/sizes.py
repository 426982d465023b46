"""How many values layers compute or read, so that absurd ones are not computed."""

import dataclasses
import math

from chainer.links.caffe import CaffeFunction, caffe_function
from chainer.utils import conv

# What layers may hold at a time for an image: 1 GiB. VGG19 reaches this at 1400 x 1400 pixels.
MAX_VALUES = 1 << 28
# What all layers together may compute for an image; more takes minutes. ResNet-152 reaches this
# at 1300 x 1300 pixels.
MAX_TOTAL = 1 << 33


@dataclasses.dataclass(frozen=True)
class Windows:
    """Where the kernels of a convolution or a pooling layer are applied; pairs of int.

    ``kernel`` is None if it is the whole image.
    """

    kernel: tuple
    stride: tuple
    pad: tuple

    @classmethod
    def of(cls, param):
        """Reads a layer's parameters.

        Raises:
            ValueError: If they are not possible.
        """
        kernel, stride, pad = (
            _pair(get(param), name)
            for get, name in (
                (caffe_function._get_ksize, 'kernel sizes'),
                (caffe_function._get_stride, 'strides'),
                (caffe_function._get_pad, 'paddings'),
            )
        )
        if getattr(param, 'global_pooling', False) and kernel == (0, 0):
            kernel = None
        if 0 in stride or (kernel and 0 in kernel):
            raise ValueError('has a kernel or a stride of 0')
        return cls(kernel, stride, pad)

    def kernel_of(self, x):
        return self.kernel or x.shape[2:]

    def n_padded(self, x):
        """Returns the number of pixels of the padded image, at most.

        The last window may begin less than a stride before the end.
        """
        geometry = zip(x.shape[2:], self.stride, self.pad)
        return math.prod(size + 2 * pad + stride - 1 for size, stride, pad in geometry)

    def n_outputs(self, x, get_size=conv.get_conv_outsize, **options):
        """Returns the number of pixels of the output; 0 if the image is too small."""
        geometry = zip(x.shape[2:], self.kernel_of(x), self.stride, self.pad)
        return math.prod(max(0, get_size(*values, **options)) for values in geometry)


def _pair(value, name):
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2:
        raise ValueError(f'has {len(pair)} {name} instead of one for each of two axes')
    return pair


def size_of(layer, setup):
    """Returns a function of a layer's inputs: how many values of an image it handles, at most.

    It returns 0 if the layer cannot be applied to its inputs.

    Args:
        layer (models.caffe.caffemodel_file.Layer): A layer that is valid.
        setup (function): CaffeFunction's method that builds it.
    """
    return _SIZES[setup](layer) if setup in _SIZES else _n_values


def _of_convolution(layer):
    windows, n_out = Windows.of(layer.convolution_param), caffe_function._get_num(layer.blobs[0])

    def size(x):
        n_outputs = _is_image(x) and windows.n_outputs(x)
        return n_outputs and max(n_out * n_outputs, x.shape[1] * windows.n_padded(x))

    return size


def _of_deconvolution(layer):
    param = layer.convolution_param
    windows = Windows.of(param)
    n_out = param.group * caffe_function._get_channels(layer.blobs[0])

    def size(x):
        n_outputs = _is_image(x) and windows.n_outputs(x, conv.get_deconv_outsize)
        # Each pixel is multiplied by a whole kernel before these are added.
        unfolded = math.prod(x.shape[2:]) * math.prod(windows.kernel)
        return n_outputs and n_out * max(n_outputs, unfolded)

    return size


def _of_pooling(layer):
    windows = Windows.of(layer.pooling_param)
    is_max = layer.pooling_param.pool == layer.pooling_param.MAX

    def size(x):
        n_outputs = _is_image(x) and windows.n_outputs(x, cover_all=is_max)
        n_read = n_outputs and n_outputs * math.prod(windows.kernel_of(x))
        return n_read and x.shape[1] * max(n_read, windows.n_padded(x))

    return size


def _is_image(x):
    return len(x.shape) == 4


def _n_values(*inputs):
    return sum(math.prod(x.shape[1:]) for x in inputs)


def _of_eltwise(layer):
    # Chainer would repeat the smaller input; Caffe does not.
    return lambda *inputs: len({x.shape for x in inputs}) == 1 and _n_values(*inputs)


_SIZES = {
    CaffeFunction._setup_convolution: _of_convolution,
    CaffeFunction._setup_deconvolution: _of_deconvolution,
    CaffeFunction._setup_pooling: _of_pooling,
    CaffeFunction._setup_eltwise: _of_eltwise,
}
