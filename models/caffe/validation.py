"""Checks of layers that Chainer's CaffeFunction would build in another way than the file says."""

import math

from chainer.links.caffe import CaffeFunction


class LayerError(ValueError):
    """A layer cannot be built or computed; the message names it."""

    def __init__(self, name, problem):
        super().__init__(f'layer {name!r} {problem}')


def check_layer(layer, setup):
    """Checks that Chainer supports the options of a layer, and that its weights fit it.

    Args:
        layer (models.caffe.caffemodel_file.Layer): The layer.
        setup (function): CaffeFunction's method that builds it.

    Raises:
        ValueError: If it cannot be built; says what is wrong with it.
    """
    for blob in layer.blobs:
        shape = _shape(blob)
        if math.prod(shape) != len(blob.data):
            raise ValueError(f'it has {len(blob.data)} weights for the shape {_text(shape)}')
    if setup is CaffeFunction._setup_convolution:
        _check_convolution(layer.convolution_param)
        _check_outputs(layer, layer.convolution_param, 0)
    elif setup is CaffeFunction._setup_deconvolution:
        _check_convolution(layer.convolution_param)
    elif setup is CaffeFunction._setup_inner_product:
        _check_outputs(layer, layer.inner_product_param, -2)
    elif setup is CaffeFunction._setup_reshape:
        _check_reshape(layer.reshape_param)


def _check_convolution(param):
    if any(value != 1 for value in param.dilation):
        raise ValueError('dilation is not supported')
    if param.axis != 1:
        raise ValueError(f'axis {param.axis} is not supported')


def _check_outputs(layer, param, axis):
    if len(layer.blobs) < 1 + param.bias_term:
        raise ValueError('it has no weights, or no biases')
    n_outputs = _shape(layer.blobs[0])[axis]
    if param.num_output not in (0, n_outputs):
        raise ValueError(f'it has {param.num_output} outputs, but weights for {n_outputs}')
    if param.bias_term and len(layer.blobs[1].data) != n_outputs:
        raise ValueError(f'it has {len(layer.blobs[1].data)} biases for {n_outputs} outputs')


def _check_reshape(param):
    if param.axis != 0 or param.num_axes != -1 or 0 in param.shape.dim:
        raise ValueError('axis, num_axes and dimensions of 0 are not supported')


def _shape(blob):
    """Returns a blob's shape from the newer field or the older ones."""
    older = blob.num, blob.channels, blob.height, blob.width
    return tuple(blob.shape.dim) or (older if any(older) else ())


def _text(shape):
    return ' x '.join(map(str, shape))
