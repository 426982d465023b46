"""Graphs of caffemodels compute what CaffeFunction does, or Caffe where these differ."""

import os

import chainer
import numpy
import onnxruntime
import pytest
from chainer.links.caffe import CaffeFunction
from hypothesis import given, settings
from hypothesis import strategies as st

from models.caffe.caffemodel_file import read_layers
from models.caffe.layers import SizeError
from models.caffe.on_gpu import ChainerGraph
from models.caffe.to_onnx import make_model
from tests.helpers import caffemodels

CPU = chainer.get_device('@numpy')
to_cpu = CPU.send
FOLDER_KEY = 'session.model_external_initializers_file_folder_path'


def random_images(size, n=2):
    return numpy.random.RandomState(0).uniform(-100, 150, (n, 3, size, size)).astype('float32')


def compute(path, blobs, images, device=CPU):
    """Returns blobs of images, by ONNX Runtime and by Chainer's functions on a device."""
    model = make_model(read_layers(path), blobs, images.shape[2], os.path.basename(path))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(FOLDER_KEY, os.path.dirname(path))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    on_device = ChainerGraph(model, str(path), device)(images)
    return session.run(None, {'images': images}), [*map(to_cpu, on_device)]


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    numpy.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * abs(expected).max())


def assert_computes(path, blobs, size, device=CPU):
    images = random_images(size)
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        expected = CaffeFunction(str(path))(inputs={'data': images}, outputs=blobs)
    for results in compute(path, blobs, images, device):
        for blob, result in zip(expected, results, strict=True):
            assert_close(result, blob.array)


@pytest.mark.parametrize('old_format', [False, True])
def test_vgg19_equals_caffe_function(device, tmp_path, old_format):
    path = caffemodels.write_vgg19(tmp_path / 'net.caffemodel', old_format)
    assert_computes(path, ['conv5_4', 'fc6', 'fc7', 'prob'], 224, device)


def test_googlenet_equals_caffe_function(device, tmp_path):
    path = caffemodels.write_googlenet(tmp_path / 'net.caffemodel')
    assert_computes(path, ['pool1/norm1', 'inception_3a/output', 'pool5/7x7_s1'], 224, device)


def convolution(writer, n_out=6, **changes):
    writer.convolution('conv', 'data', 3, n_out, 3)
    parameters = writer.net.layer[0].convolution_param
    for name, value in changes.items():
        if isinstance(value, list):
            del getattr(parameters, name)[:]
            getattr(parameters, name).extend(value)
        else:
            setattr(parameters, name, value)
    return writer


def test_other_layers_equal_caffe_function(device, tmp_path):
    writer = convolution(caffemodels.Writer())
    net = writer.net
    writer.net.layer[1].relu_param.negative_slope = 0.1
    writer.pool('pool', 'conv', 2, 2)
    net.layer.add(name='split', type='Split', bottom=['pool'], top=['a', 'b'])
    net.layer.add(name='slice', type='Slice', bottom=['a'], top=['c', 'd', 'e'])
    net.layer[-1].slice_param.slice_point.extend([1, 3])
    norm = net.layer.add(name='norm', type='BatchNorm', bottom=['b'], top=['norm'])
    for values in [1.5] * 6, [2.5] * 6, [0.5]:
        norm.blobs.add(data=values).shape.dim.append(len(values))
    norm.batch_norm_param.use_global_stats = True
    scale = net.layer.add(name='scale', type='Scale', bottom=['norm'], top=['scale'])
    scale.scale_param.bias_term = True
    for values in range(6), range(1, 7):
        scale.blobs.add(data=values).shape.dim.append(6)
    for name, operation, coefficients in ('sum', 1, [0.5, 2]), ('product', 0, []), ('max', 2, []):
        layer = net.layer.add(name=name, type='Eltwise', bottom=['scale', 'pool'], top=[name])
        layer.eltwise_param.operation = operation
        layer.eltwise_param.coeff.extend(coefficients)
    net.layer.add(name='sigmoid', type='Sigmoid', bottom=['max'], top=['sigmoid'])
    deconvolution = net.layer.add(name='up', type='Deconvolution', bottom=['max'], top=['up'])
    deconvolution.convolution_param.num_output = 2
    deconvolution.convolution_param.kernel_size.append(3)
    deconvolution.convolution_param.stride.append(2)
    writer._add_blobs(deconvolution, (6, 2, 3, 3), (2,))
    path = writer.write(tmp_path / 'net.caffemodel')
    blobs = ['conv', 'c', 'd', 'e', 'scale', 'sum', 'product', 'max', 'sigmoid', 'up']
    assert_computes(path, blobs, 10, device)


@pytest.mark.parametrize(
    'changes', [{'group': 3}, {'stride': [2]}, {'pad': [0, 2]}, {'pad_h': 1, 'pad_w': 2}], ids=str
)
def test_convolutions_equal_caffe_function(device, tmp_path, changes):
    writer = convolution(caffemodels.Writer(), **changes)
    if 'pad_h' in changes:
        del writer.net.layer[0].convolution_param.pad[:]
    if 'group' in changes:
        del writer.net.layer[0].blobs[:]
        writer._add_blobs(writer.net.layer[0], (6, 1, 3, 3), (6,))
    assert_computes(writer.write(tmp_path / 'net.caffemodel'), ['conv'], 9, device)


def plain_pooling(x, kernel, stride, pad, average):
    """Pools as Caffe's pooling_layer.cpp does, window by window."""
    n = -(-(x.shape[2] + 2 * pad - kernel) // stride) + 1
    if pad and (n - 1) * stride >= x.shape[2] + pad:
        n -= 1
    y = numpy.empty((*x.shape[:2], n, n), 'float32')
    for row, column in numpy.ndindex(n, n):
        start = numpy.array([row, column]) * stride - pad
        stop = numpy.minimum(start + kernel, x.shape[2] + pad)
        size = numpy.prod(stop - start)
        start, stop = numpy.maximum(start, 0), numpy.minimum(stop, x.shape[2])
        window = x[:, :, start[0] : stop[0], start[1] : stop[1]]
        y[:, :, row, column] = (
            window.sum(axis=(2, 3)) / size if average else window.max(axis=(2, 3))
        )
    return y


@settings(max_examples=40)
@given(
    size=st.integers(3, 12),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    pad=st.integers(0, 2),
    average=st.booleans(),
)
def test_pooling_is_that_of_caffe(device, tmp_path_factory, size, kernel, stride, pad, average):
    kernel = min(kernel, size)
    stride, pad = min(stride, kernel), min(pad, kernel - 1)
    writer = caffemodels.Writer()
    writer.pool('pool', 'data', kernel, stride, pad, average)
    path = writer.write(tmp_path_factory.getbasetemp() / 'pool.caffemodel')
    images = random_images(size)
    for (result,) in compute(path, ['pool'], images, device):
        assert_close(result, plain_pooling(images, kernel, stride, pad, average))


def test_batch_normalization_with_factor_0_has_mean_and_variance_0(device, tmp_path):
    writer = caffemodels.Writer()
    norm = writer.net.layer.add(name='norm', type='BatchNorm', bottom=['data'], top=['norm'])
    for values in [1, 2, 3], [4, 5, 6], [0]:
        norm.blobs.add(data=values).shape.dim.append(len(values))
    images = random_images(4)
    for (result,) in compute(writer.write(tmp_path / 'net.caffemodel'), ['norm'], images, device):
        assert_close(result, images / numpy.sqrt(numpy.float32(norm.batch_norm_param.eps)))


def test_flatten_and_reshape_keep_the_order(device, tmp_path):
    writer = caffemodels.Writer()
    writer.net.layer.add(name='flat', type='Flatten', bottom=['data'], top=['flat'])
    reshape = writer.net.layer.add(name='rows', type='Reshape', bottom=['flat'], top=['rows'])
    reshape.reshape_param.shape.dim.extend([0, 3, -1])
    writer.inner_product('fc', 'flat', 48, 5)
    images = random_images(4)
    path = writer.write(tmp_path / 'net.caffemodel')
    weights, biases = (numpy.array(blob.data) for blob in writer.net.layer[2].blobs)
    for flat, rows, fc in compute(path, ['flat', 'rows', 'fc'], images, device):
        assert_close(flat, images.reshape(2, -1))
        assert_close(rows, images.reshape(2, 3, -1))
        assert_close(fc, images.reshape(2, -1) @ weights.reshape(5, 48).T + biases)


def test_only_what_the_blobs_depend_on_is_in_the_graph(tmp_path):
    layers = read_layers(caffemodels.write_vgg19(tmp_path / 'net.caffemodel'))
    model = make_model(layers, ['conv1_2'], 224, 'net.caffemodel')
    operations = ['Conv', 'Relu', 'Conv', 'Relu', 'Identity']
    assert [node.op_type for node in model.graph.node] == operations


def with_type(name):
    def change(layer):
        layer.type = name

    return change


def transpose(layer):
    layer.inner_product_param.MergeFromString(b'\x30\x01')  # field 6, which is newer than Chainer's


@pytest.mark.parametrize(
    'change, message',
    [
        (with_type('PReLU'), 'the type PReLU is not supported'),
        (transpose, 'its parameter number 6 is not supported'),
        (lambda layer: setattr(layer.inner_product_param, 'axis', 2), 'parameter axis is not'),
        (lambda layer: layer.blobs.pop(), 'it has no biases'),
        (lambda layer: layer.blobs[1].data.pop(), 'it has 4 biases for 5 outputs'),
        (lambda layer: layer.blobs[0].data.pop(), 'it has 239 weights for the shape 5 x 48'),
        (lambda layer: setattr(layer.inner_product_param, 'num_output', 6), 'it has 6 outputs'),
        (lambda layer: layer.bottom.append('more'), "computed from 'data', 'more', not from"),
    ],
)
def test_what_is_not_computed_as_in_caffe_is_refused(tmp_path, change, message):
    writer = caffemodels.Writer()
    writer.inner_product('fc', 'data', 48, 5)
    change(writer.net.layer[0])
    layers = read_layers(writer.write(tmp_path / 'net.caffemodel'))
    with pytest.raises(ValueError, match=message):
        make_model(layers, ['fc'], 4, 'net.caffemodel')


@pytest.mark.parametrize(
    'kernel, stride, pad', [(3, 0, 0), (0, 1, 0), (2, 1, 2), (2**31 - 1, 1, 9)]
)
def test_windows_that_no_network_has_are_refused(tmp_path, kernel, stride, pad):
    writer = caffemodels.Writer()
    writer.pool('pool', 'data', kernel, stride, pad)
    layers = read_layers(writer.write(tmp_path / 'net.caffemodel'))
    with pytest.raises(ValueError, match="layer 'pool': "):
        make_model(layers, ['pool'], 8, 'net.caffemodel')


def test_images_of_another_size_are_told_from_other_errors(tmp_path):
    writer = caffemodels.Writer()
    writer.inner_product('fc', 'data', 48, 5)
    layers = read_layers(writer.write(tmp_path / 'net.caffemodel'))
    with pytest.raises(SizeError, match="layer 'fc': does not take inputs of 75 values"):
        make_model(layers, ['fc'], 5, 'net.caffemodel')
