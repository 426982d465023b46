"""Graphs of caffemodels on a GPU, for which ONNX Runtime has no provider here, or on any device.

Only the operations of :mod:`models.caffe.to_onnx` are known, with Chainer's functions.
"""

import os

import chainer
import chainer.functions as F
import numpy
from onnx import external_data_helper, helper, numpy_helper


class ChainerGraph:
    """Computes a graph that :func:`models.caffe.to_onnx.make_model` has made.

    Args:
        model (onnx.ModelProto): The graph.
        path (str): The caffemodel, which contains the weights.
        device (chainer.backend.Device): Where to compute.
    """

    def __init__(self, model, path, device):
        self._device = device
        self._nodes = [
            (node, {a.name: helper.get_attribute_value(a) for a in node.attribute})
            for node in model.graph.node
        ]
        self._outputs = [output.name for output in model.graph.output]
        self._constants = {}
        for tensor in model.graph.initializer:
            if external_data_helper.uses_external_data(tensor):
                external_data_helper.load_external_data_for_tensor(tensor, os.path.dirname(path))
            array = numpy_helper.to_array(tensor)
            # Sizes stay on the CPU.
            is_size = array.dtype.kind == 'i'
            self._constants[tensor.name] = array if is_size else device.send(array.copy())
            tensor.Clear()

    def __call__(self, images):
        """Computes the outputs of images, (N, 3, S, S), float32, NumPy; arrays on the device."""
        values = {'images': self._device.send(images)}
        last_use = {name: n for n, (node, _) in enumerate(self._nodes) for name in node.input}
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            for n, (node, attributes) in enumerate(self._nodes):
                inputs = [
                    values[name] if name in values else self._constants[name] for name in node.input
                ]
                results = OPERATIONS[node.op_type](*inputs, **attributes)
                results = results if isinstance(results, (tuple, list)) else [results]
                values |= zip(node.output, results)
                for name in node.input:
                    if last_use[name] == n and name not in self._outputs:
                        values.pop(name, None)
        return [chainer.as_array(values[name]) for name in self._outputs]


def _conv(x, W, b=None, *, kernel_shape, strides, pads, dilations, group):
    return F.convolution_2d(x, W, b, strides, pads[:2], dilate=tuple(dilations), groups=group)


def _conv_transpose(x, W, b=None, *, kernel_shape, strides, pads, dilations, group):
    return F.deconvolution_2d(x, W, b, strides, pads[:2], dilate=tuple(dilations), groups=group)


def _pad(x, pads, value=0):
    n = len(pads) // 2
    return F.pad(x, [*zip(pads[:n].tolist(), pads[n:].tolist())], 'constant', constant_values=value)


def _max_pool(x, *, kernel_shape, strides, pads):
    pads = numpy.array([0, 0, *pads[:2], 0, 0, *pads[2:]])
    return F.max_pooling_2d(_pad(x, pads, -numpy.inf), kernel_shape, strides, 0, cover_all=False)


def _batch_normalization(x, gamma, beta, mean, variance, *, epsilon):
    return F.fixed_batch_normalization(x, gamma, beta, mean, variance, eps=epsilon)


def _split(x, sizes, *, axis):
    return F.split_axis(x, numpy.cumsum(sizes)[:-1].tolist(), axis)


# What computes each operation: its inputs come first, attributes are keywords.
OPERATIONS = {
    'Add': lambda x, y: x + F.broadcast_to(y, x.shape),
    'AveragePool': lambda x, kernel_shape, strides: F.average_pooling_2d(x, kernel_shape, strides),
    'BatchNormalization': _batch_normalization,
    'Concat': lambda *x, axis: F.concat(x, axis),
    'Conv': _conv,
    'ConvTranspose': _conv_transpose,
    'Flatten': lambda x: F.reshape(x, (len(x), -1)),
    'Gemm': lambda x, W, b=None, transB=1: F.linear(x, W, b),
    'Identity': lambda x: x,
    'LRN': lambda x, size, alpha, beta, bias: F.local_response_normalization(
        x, size, bias, alpha / size, beta
    ),
    'LeakyRelu': lambda x, alpha: F.leaky_relu(x, alpha),
    'Max': lambda *x: F.maximum(*x),
    'MaxPool': _max_pool,
    'Mul': lambda x, y: x * F.broadcast_to(y, x.shape),
    'Pad': _pad,
    'Relu': F.relu,
    'Reshape': lambda x, shape: F.reshape(x, (len(x), *shape[1:].tolist())),
    'Sigmoid': F.sigmoid,
    'Softmax': lambda x, axis: F.softmax(x, axis),
    'Split': _split,
    'Sum': lambda *x: sum(x[1:], x[0]),
    'Tanh': F.tanh,
}
