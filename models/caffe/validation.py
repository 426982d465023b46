"""Checks of the description of layers, before anything is allocated for them.

What they accept is what Chainer's CaffeFunction can build, as far as it depends on a layer
alone. Caffe itself makes most of these checks.
"""

import math

from chainer.links.caffe import CaffeFunction
from chainer.links.caffe.caffe_function import caffe_pb

from models.caffe.sizes import Windows

MAX_AXES = 32  # in Caffe
# Chainer stores a convolution with groups as one without, whose other weights are 0. Those of
# ResNeXt-101 (64 x 4d) have 330 million weights then.
MAX_GROUPED_WEIGHTS = 1 << 29


class LayerError(ValueError):
    """A layer cannot be built or computed; the message names it."""

    def __init__(self, name, problem):
        super().__init__(f'layer {name!r} {problem}')


def check_layer(layer, setup, n_grouped):
    """Checks that a layer can be built.

    Args:
        layer (models.caffe.caffemodel_file.Layer): The layer.
        setup (function): CaffeFunction's method that builds it.
        n_grouped (int): Weights that Chainer stores for convolutions with groups so far.

    Returns:
        int: The same number with this layer.

    Raises:
        ValueError: If it cannot be built; says what is wrong with it.
    """
    _check_connections(layer, setup)
    if setup in _CHECKS:
        _CHECKS[setup](layer)
    if setup in _CONVOLUTIONS and layer.convolution_param.group > 1:
        n_grouped += layer.convolution_param.group * len(layer.blobs[0].data)
        _require(n_grouped <= MAX_GROUPED_WEIGHTS, 'has too many groups')
    return n_grouped


def _require(condition, problem):
    if not condition:
        raise ValueError(problem)


def _check_connections(layer, setup):
    n_bottoms, n_tops = len(layer.bottom), len(layer.top)
    least, most = _N_BOTTOMS.get(setup, (1, 1))
    _require(least <= n_bottoms <= most, f'has {n_bottoms} bottoms')
    if setup not in _MANY_TOPS:
        _require(n_tops == 1, f'has {n_tops} tops')
    _require(len(set(layer.top)) == n_tops, 'has the same top twice')


def _check_convolution(layer):
    param = layer.convolution_param
    windows = Windows.of(param)
    _require(all(value == 1 for value in param.dilation), 'is dilated, which is not supported')
    _require(param.axis == 1, f'has axis {param.axis} instead of 1')
    shape = _shape(layer, 0)
    _require(
        len(shape) == 4 and shape[2:] == windows.kernel,
        f'has weights of the shape {_text(shape)} for kernels of {_text(windows.kernel)}',
    )
    _require(
        param.group >= 1 and shape[0] % param.group == 0,
        f'has {shape[0]} channels in {param.group} groups',
    )
    n_out = shape[0]
    if layer.type in ('Deconvolution', caffe_pb.V1LayerParameter.DECONVOLUTION):
        n_out = shape[1] * param.group
    _check_outputs(layer, param, n_out)


def _check_inner_product(layer):
    shape = _shape(layer, 0)
    _require(
        len(shape) == 2 or (len(shape) == 4 and shape[:2] == (1, 1)),
        f'has weights of the shape {_text(shape)}',
    )
    _check_outputs(layer, layer.inner_product_param, shape[-2])


def _check_outputs(layer, param, n_out):
    # Chainer does not need num_output.
    _require(
        param.num_output in (0, n_out), f'has {param.num_output} outputs, but weights for {n_out}'
    )
    if param.bias_term:
        _require_values(layer, 1, n_out)


def _check_batch_norm(layer):
    (size,) = _modern_shape(layer, 0, 1)
    _require_values(layer, 1, size)
    eps = layer.batch_norm_param.eps
    factor = 1
    if len(layer.blobs) > 2:
        _require_values(layer, 2, 1)
        factor = layer.blobs[2].data[0]
    _require(factor > 1e-30, f'divides statistics by {factor}')
    variances = layer.blobs[1].data[:] / factor
    _require(0 <= eps < math.inf and variances.min() + eps > 0, 'has variances of 0 or less')


def _check_scale(layer):
    param = layer.scale_param
    _require(0 <= param.axis < MAX_AXES, f'has axis {param.axis}')
    if len(layer.bottom) == 1 or param.bias_term:
        size = math.prod(_modern_shape(layer, 0))
        if len(layer.bottom) == 1 and param.bias_term:
            _require_values(layer, 1, size)


def _check_lrn(layer):
    param = layer.lrn_param
    # More channels than there are change nothing, but take time.
    _require(
        param.local_size % 2 == 1 and param.local_size < 1 << 16,
        f'has local_size {param.local_size} instead of an odd number',
    )
    _require(
        0 <= param.alpha < math.inf and 0 < param.k < math.inf and abs(param.beta) < math.inf,
        f'has alpha {param.alpha:g}, beta {param.beta:g} and k {param.k:g}',
    )


def _check_pooling(layer):
    windows = Windows.of(layer.pooling_param)
    if windows.kernel and any(windows.pad):
        _require(
            all(pad < size for pad, size in zip(windows.pad, windows.kernel)),
            f'pads images by {_text(windows.pad)} for kernels of {_text(windows.kernel)}',
        )


def _check_eltwise(layer):
    n_coefficients = len(layer.eltwise_param.coeff)
    _require(
        n_coefficients in (0, len(layer.bottom)),
        f'has {n_coefficients} coefficients for {len(layer.bottom)} bottoms',
    )


def _check_slice(layer):
    points = list(layer.slice_param.slice_point)
    _require(layer.top, 'has 0 tops')
    if points:
        _require(len(points) == len(layer.top) - 1, 'has another number of tops than of slices')
        _require(points[0] > 0 and points == sorted(set(points)), 'has slices that are empty')


def _check_reshape(layer):
    dims = layer.reshape_param.shape.dim
    _require(
        0 < len(dims) <= MAX_AXES and min(dims) >= -1 and list(dims).count(-1) <= 1,
        f'has the shape {_text(dims[: MAX_AXES + 1])}',
    )
    _require(
        layer.reshape_param.axis == 0 and layer.reshape_param.num_axes == -1 and 0 not in dims,
        'has a kind of shape that is not supported',
    )


def _require_values(layer, index, number):
    shape = _shape(layer, index)
    _require(
        math.prod(shape) == number, f'has {math.prod(shape)} values in blob {index}, not {number}'
    )


def _modern_shape(layer, index, n_axes=None):
    """Returns a blob's shape, which Chainer reads from its newer field for this type."""
    shape = _shape(layer, index)
    dims = layer.blobs[index].shape.dim
    _require(dims and n_axes in (None, len(dims)), f'has a blob of the shape {_text(shape)}')
    return shape


def _shape(layer, index):
    """Returns a blob's shape, which is that of the blob's data."""
    _require(index < len(layer.blobs), f'has {len(layer.blobs)} blobs, too few')
    blob = layer.blobs[index]
    shape, old_shape = blob.shape.dim, (blob.num, blob.channels, blob.height, blob.width)
    _require(len(shape) <= MAX_AXES, f'has a blob of {len(shape)} axes')
    if shape and any(old_shape):
        _require(old_shape == tuple(shape), 'has a blob of two shapes')
    shape = tuple(shape) or old_shape
    _require(
        min(shape) > 0 and math.prod(shape) == len(blob.data),
        f'has {len(blob.data)} values in a blob of the shape {_text(shape)}',
    )
    return shape


def _text(shape):
    return ' x '.join(map(str, shape))


_CONVOLUTIONS = CaffeFunction._setup_convolution, CaffeFunction._setup_deconvolution
_CHECKS = {
    CaffeFunction._setup_convolution: _check_convolution,
    CaffeFunction._setup_deconvolution: _check_convolution,
    CaffeFunction._setup_inner_product: _check_inner_product,
    CaffeFunction._setup_batchnorm: _check_batch_norm,
    CaffeFunction._setup_scale: _check_scale,
    CaffeFunction._setup_lrn: _check_lrn,
    CaffeFunction._setup_pooling: _check_pooling,
    CaffeFunction._setup_eltwise: _check_eltwise,
    CaffeFunction._setup_slice: _check_slice,
    CaffeFunction._setup_reshape: _check_reshape,
}
# How many bottoms a layer may have, if not 1.
_N_BOTTOMS = {
    CaffeFunction._setup_data: (0, 0),
    CaffeFunction._setup_concat: (1, math.inf),
    CaffeFunction._setup_eltwise: (1, math.inf),
    CaffeFunction._setup_scale: (1, 2),
    CaffeFunction._setup_softmax_with_loss: (2, 2),
}
_MANY_TOPS = {
    CaffeFunction._setup_data,
    CaffeFunction._setup_slice,
    CaffeFunction._setup_softmax_with_loss,
    CaffeFunction._setup_split,
}
