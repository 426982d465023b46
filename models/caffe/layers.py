"""What Caffe's layers compute, as operations of ONNX."""

import math

import numpy
from chainer.links.caffe.caffe_function import caffe_pb
from google.protobuf.unknown_fields import UnknownFieldSet

# Parameters that say how to train or where to compute, not what.
IRRELEVANT = {'engine', 'weight_filler', 'bias_filler', 'filler', 'force_nd_im2col',
              'dropout_ratio', 'moving_average_fraction', 'stable_prod_grad'}  # fmt: skip


# Pixels; larger windows than images are only in damaged files.
MAX_WINDOW = 4096


class SizeError(ValueError):
    """A layer does not take inputs of the size that they have."""


def type_of(layer) -> str:
    """Returns the type of a layer, as the new format calls it."""
    if isinstance(layer.type, str):
        return layer.type
    words = caffe_pb.V1LayerParameter.LayerType.Name(layer.type).split('_')
    name = ''.join(word.capitalize() for word in words)
    return {'Relu': 'ReLU', 'Lrn': 'LRN', 'Tanh': 'TanH', 'SoftmaxLoss': 'SoftmaxWithLoss'}.get(
        name, name
    )


def _parameters(layer, name, *supported):
    """Returns the parameters of a layer.

    Raises:
        ValueError: If any are set that are not supported.
    """
    parameters = getattr(layer, name)
    for field, value in parameters.ListFields():
        is_default = not field.is_repeated and value == field.default_value
        if field.name not in {*supported, *IRRELEVANT} and not is_default:
            raise ValueError(f'its parameter {field.name} is not supported')
    unknown = [field.field_number for field in UnknownFieldSet(parameters)]
    if unknown:
        raise ValueError(f'its parameter number {unknown[0]} is not supported')
    return parameters


def check_blobs(layer):
    """Checks that a layer has the weights that its type needs.

    Raises:
        ValueError: If not.
    """
    if len(layer.blobs) == 0 and type_of(layer) in ('Convolution', 'Deconvolution', 'InnerProduct'):
        raise ValueError('it has no weights')


def shape_of(blob):
    """Returns a blob's shape from the newer field or the older ones."""
    older = blob.num, blob.channels, blob.height, blob.width
    return tuple(blob.shape.dim) or (older if any(older) else ())


def _pair(parameters, name, default):
    """Returns a size for height and width, which may be one number, a list or two fields."""
    prefix = name.split('_')[0]
    height, width = (f'{prefix}_{axis}' for axis in 'hw')
    if parameters.HasField(height) or parameters.HasField(width):
        return getattr(parameters, height), getattr(parameters, width)
    value = getattr(parameters, name)
    values = [value] if isinstance(value, int) else list(value)
    values = values or [default]
    return tuple(values * 2 if len(values) == 1 else values)


def _bias(graph, layer, parameters, n_outputs):
    """Returns the names of the biases of a layer, none if it has none."""
    if not parameters.bias_term:
        return []
    if len(layer.blobs) < 2:
        raise ValueError('it has no biases')
    if len(layer.blobs[1].data) != n_outputs:
        raise ValueError(f'it has {len(layer.blobs[1].data)} biases for {n_outputs} outputs')
    return [graph.weights(layer.blobs[1], (n_outputs,))]


def _convolution(graph, layer, inputs, outputs):
    parameters = _parameters(
        layer, 'convolution_param', 'num_output', 'bias_term', 'pad', 'pad_h', 'pad_w', 'group',
        'kernel_size', 'kernel_h', 'kernel_w', 'stride', 'stride_h', 'stride_w', 'dilation',
    )  # fmt: skip
    transposed = type_of(layer) == 'Deconvolution'
    shape = shape_of(layer.blobs[0])
    kernel = _pair(parameters, 'kernel_size', 0)
    stride, pad = _pair(parameters, 'stride', 1), _pair(parameters, 'pad', 0)
    dilation = tuple(list(parameters.dilation) * (3 - len(parameters.dilation))) or (1, 1)
    channels, *size = graph.shapes[inputs[0]]
    n_in = shape[0] if transposed else shape[1] * parameters.group
    n_out = shape[1] * parameters.group if transposed else shape[0]
    if len(shape) != 4 or shape[2:] != kernel or len(size) != 2:
        raise ValueError('its weights do not have the size of the kernel')
    if n_out != parameters.num_output:
        raise ValueError(f'it has {parameters.num_output} outputs, but weights for {n_out}')
    if n_in != channels:
        raise SizeError(f'does not take inputs of {channels} channels')
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    if transposed:
        out = [s * (n - 1) + e - 2 * p for n, e, s, p in zip(size, extent, stride, pad)]
    else:
        out = [(n + 2 * p - e) // s + 1 for n, e, s, p in zip(size, extent, stride, pad)]
    graph.add(
        'ConvTranspose' if transposed else 'Conv',
        [*inputs, graph.weights(layer.blobs[0], shape), *_bias(graph, layer, parameters, n_out)],
        outputs,
        (n_out, *out),
        kernel_shape=kernel,
        strides=stride,
        pads=[*pad, *pad],
        dilations=dilation,
        group=parameters.group,
    )


def _pooling(graph, layer, inputs, outputs):
    """Adds Caffe's pooling, which rounds sizes up and counts padding in averages."""
    parameters = _parameters(
        layer, 'pooling_param', 'pool', 'pad', 'pad_h', 'pad_w', 'kernel_size', 'kernel_h',
        'kernel_w', 'stride', 'stride_h', 'stride_w', 'global_pooling',
    )  # fmt: skip
    channels, *size = graph.shapes[inputs[0]]
    kernel, stride = _pair(parameters, 'kernel_size', 0), _pair(parameters, 'stride', 1)
    pad = _pair(parameters, 'pad', 0)
    if parameters.global_pooling:
        kernel, stride, pad = tuple(size), (1, 1), (0, 0)
    windows = [_windows(*arguments, any(pad)) for arguments in zip(size, kernel, stride, pad)]
    shape = channels, *(len(starts) for starts, _, _ in windows)
    ends = [max(0, end) for _, _, end in windows]
    geometry = {'kernel_shape': kernel, 'strides': stride}
    if parameters.pool == parameters.MAX:
        graph.add('MaxPool', inputs, outputs, shape, pads=[*pad, *ends], **geometry)
        return
    if parameters.pool != parameters.AVE:
        raise ValueError('stochastic pooling is not supported')
    if any((*pad, *ends)):
        pads = graph.constant(numpy.array([0, 0, *pad, 0, 0, *ends]))
        graph.add('Pad', [*inputs, pads], [f'{outputs[0]} padded'])
        inputs = [f'{outputs[0]} padded']
    counts = numpy.outer(*(counts for _, counts, _ in windows))
    factor = (math.prod(kernel) / counts).astype('float32')
    if (factor == 1).all():
        graph.add('AveragePool', inputs, outputs, shape, **geometry)
    else:
        graph.add('AveragePool', inputs, [f'{outputs[0]} mean'], shape, **geometry)
        graph.add('Mul', [f'{outputs[0]} mean', graph.constant(factor)], outputs)


def _windows(size, kernel, stride, pad, is_padded):
    """Returns where windows start, how many pixels each counts, and the padding at the end."""
    if pad >= kernel or max(kernel, stride) > MAX_WINDOW:
        raise SizeError('a window lies outside its input')
    n = -(-(size + 2 * pad - kernel) // stride) + 1
    if is_padded and (n - 1) * stride >= size + pad:
        n -= 1
    starts = numpy.arange(n) * stride - pad
    stops = numpy.minimum(starts + kernel, size + pad)
    if n < 1 or starts[-1] >= size:
        raise SizeError('a window lies outside its input')
    return starts, stops - starts, int(starts[-1]) + kernel - size


def _inner_product(graph, layer, inputs, outputs):
    parameters = _parameters(layer, 'inner_product_param', 'num_output', 'bias_term')
    n_out, n_in = shape_of(layer.blobs[0])[-2:]
    n_values = math.prod(graph.shapes[inputs[0]])
    if n_out != parameters.num_output:
        raise ValueError(f'it has {parameters.num_output} outputs, but weights for {n_out}')
    if n_in != n_values:
        raise SizeError(f'does not take inputs of {n_values} values')
    graph.add('Flatten', inputs, [f'{outputs[0]} flat'], (n_values,))
    bias = _bias(graph, layer, parameters, n_out)
    weights = graph.weights(layer.blobs[0], (n_out, n_in))
    graph.add('Gemm', [f'{outputs[0]} flat', weights, *bias], outputs, (n_out,), transB=1)


def _relu(graph, layer, inputs, outputs):
    slope = _parameters(layer, 'relu_param', 'negative_slope').negative_slope
    if slope:
        graph.add('LeakyRelu', inputs, outputs, alpha=slope)
    else:
        graph.add('Relu', inputs, outputs)


def _lrn(graph, layer, inputs, outputs):
    parameters = _parameters(layer, 'lrn_param', 'local_size', 'alpha', 'beta', 'k')
    graph.add(
        'LRN',
        inputs,
        outputs,
        size=parameters.local_size,
        alpha=parameters.alpha,
        beta=parameters.beta,
        bias=parameters.k,
    )


def _concat(graph, layer, inputs, outputs):
    _parameters(layer, 'concat_param')
    first, *_ = shapes = [graph.shapes[name] for name in inputs]
    if any(shape[1:] != first[1:] for shape in shapes):
        raise SizeError('its inputs have different sizes')
    graph.add('Concat', inputs, outputs, (sum(shape[0] for shape in shapes), *first[1:]), axis=1)


def _eltwise(graph, layer, inputs, outputs):
    parameters = _parameters(layer, 'eltwise_param', 'operation', 'coeff')
    if len({graph.shapes[name] for name in inputs}) > 1:
        raise SizeError('its inputs have different sizes')
    operation = {parameters.PROD: 'Mul', parameters.SUM: 'Sum', parameters.MAX: 'Max'}[
        parameters.operation
    ]
    if parameters.coeff:
        if operation != 'Sum' or len(parameters.coeff) != len(inputs):
            raise ValueError('its coefficients do not fit')
        scaled = [f'{outputs[0]} term {n}' for n in range(len(inputs))]
        for name, coefficient, term in zip(inputs, parameters.coeff, scaled):
            graph.add('Mul', [name, graph.constant(numpy.float32(coefficient))], [term])
        inputs = scaled
    while operation == 'Mul' and len(inputs) > 2:
        product = f'{outputs[0]} of {len(inputs)}'
        graph.add('Mul', inputs[:2], [product])
        inputs = [product, *inputs[2:]]
    graph.add(operation, inputs, outputs)


def _batch_norm(graph, layer, inputs, outputs):
    parameters = _parameters(layer, 'batch_norm_param', 'use_global_stats', 'eps')
    if parameters.HasField('use_global_stats') and not parameters.use_global_stats:
        raise ValueError('it mixes images')
    mean, variance, *factors = (blob.data.read().astype('float32') for blob in layer.blobs)
    factor = float(factors[0][0]) if factors else 1.0
    scale = 1 / factor if factor else 0
    n = graph.shapes[inputs[0]][0]
    if len(mean) != n or len(variance) != n:
        raise ValueError(f'it does not have means and variances of {n} channels')
    arrays = numpy.ones(n), numpy.zeros(n), mean * scale, variance * scale
    constants = [graph.constant(array.astype('float32')) for array in arrays]
    graph.add('BatchNormalization', [*inputs, *constants], outputs, epsilon=parameters.eps)


def _scale(graph, layer, inputs, outputs):
    parameters = _parameters(layer, 'scale_param', 'bias_term')
    n, *size = graph.shapes[inputs[0]]
    if len(inputs) != 1 or len(layer.blobs) != 1 + parameters.bias_term:
        raise ValueError('its factors are not weights')
    weights = [graph.weights(blob, (n, *(1 for _ in size))) for blob in layer.blobs]
    if parameters.bias_term:
        graph.add('Mul', [*inputs, weights[0]], [f'{outputs[0]} scaled'])
        graph.add('Add', [f'{outputs[0]} scaled', weights[1]], outputs)
    else:
        graph.add('Mul', [*inputs, weights[0]], outputs)


def _reshape(graph, layer, inputs, outputs):
    first, *dims = _parameters(layer, 'reshape_param', 'shape').shape.dim
    shape = graph.shapes[inputs[0]]
    n_values = math.prod(shape)
    dims = [shape[n] if dim == 0 else dim for n, dim in enumerate(dims)]
    if -1 in dims:
        dims[dims.index(-1)] = n_values // max(1, -math.prod(dims))
    if first not in (0, -1) or math.prod(dims) != n_values:
        raise SizeError(f'does not take inputs of {shape}')
    target = graph.constant(numpy.array([0, *dims]))
    graph.add('Reshape', [*inputs, target], outputs, tuple(dims))


def _flatten(graph, layer, inputs, outputs):
    _parameters(layer, 'flatten_param')
    graph.add('Flatten', inputs, outputs, (math.prod(graph.shapes[inputs[0]]),))


def _slice(graph, layer, inputs, outputs):
    parameters = _parameters(layer, 'slice_param', 'slice_point')
    n, *size = graph.shapes[inputs[0]]
    points = list(parameters.slice_point) or [
        n * number // len(outputs) for number in range(1, len(outputs))
    ]
    sizes = numpy.diff([0, *points, n])
    graph.add('Split', [*inputs, graph.constant(sizes)], outputs, axis=1)
    graph.shapes |= {name: (int(length), *size) for name, length in zip(outputs, sizes)}


def _softmax(graph, layer, inputs, outputs):
    _parameters(layer, 'softmax_param')
    graph.add('Softmax', inputs, outputs, axis=1)


def _same(operation):
    """Returns a converter of a layer without parameters."""

    def convert(graph, layer, inputs, outputs):
        for name in outputs:
            graph.add(operation, inputs, [name])

    return convert


# What adds each type of layer to a graph.
CONVERTERS = {
    'BatchNorm': _batch_norm,
    'Concat': _concat,
    'Convolution': _convolution,
    'Deconvolution': _convolution,
    'Dropout': _same('Identity'),
    'Eltwise': _eltwise,
    'Flatten': _flatten,
    'InnerProduct': _inner_product,
    'LRN': _lrn,
    'Pooling': _pooling,
    'ReLU': _relu,
    'Reshape': _reshape,
    'Scale': _scale,
    'Sigmoid': _same('Sigmoid'),
    'Slice': _slice,
    'Softmax': _softmax,
    'Split': _same('Identity'),
    'TanH': _same('Tanh'),
}
