import struct
import subprocess
import sys

import chainer
import numpy
import pytest
from chainer.links.caffe import CaffeFunction
from chainer.links.caffe.caffe_function import caffe_pb
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from models.caffe.caffemodel import Caffemodel
from tests.helpers import caffemodels
from tests.helpers.scripts import ROOT

to_cpu = chainer.get_device('@numpy').send
# Prints by how many bytes loading a network raises the peak memory of a process. Not by
# getrusage, which counts what the parent process held before.
LOAD = r"""
import re, sys
from models.caffe.caffemodel import Caffemodel
def peak():
    return 1024 * int(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])
before = peak()
network = Caffemodel(sys.argv[1])
print(peak() - before)
"""


def assert_same_network(path):
    """Compares a Caffemodel with a CaffeFunction of the same file and returns both."""
    ours, chainers = Caffemodel(path), CaffeFunction(str(path))
    assert isinstance(ours, CaffeFunction)
    assert ours.layers == chainers.layers
    assert ours.split_map == chainers.split_map
    assert ours.forwards.keys() == chainers.forwards.keys()
    params, chainers_params = dict(ours.namedparams()), dict(chainers.namedparams())
    assert params.keys() == chainers_params.keys()
    for name, param in params.items():
        assert param.dtype == 'float32'
        numpy.testing.assert_array_equal(param.array, chainers_params[name].array)
    return ours, chainers


def test_loading_does_not_change_how_chainer_initializes_gradients(tmp_path):
    network = Caffemodel(caffemodels.write_vgg19(tmp_path / 'net.caffemodel'))
    assert all(param.grad is None for param in network.params())
    assert numpy.isnan(chainer.Parameter(0, (2, 3)).grad).all()


@pytest.mark.parametrize('old_format', [False, True])
def test_matches_caffe_function_bit_for_bit(device, tmp_path, old_format):
    networks = assert_same_network(caffemodels.write_vgg19(tmp_path / 'net.caffemodel', old_format))
    x = device.send(numpy.random.RandomState(0).randn(1, 3, 224, 224).astype('float32'))
    with chainer.using_config('train', False):
        outputs, expected = (
            network.to_device(device)(inputs={'data': x}, outputs=['conv5_4', 'prob'])
            for network in networks
        )
        for a, b in zip(outputs, expected):
            numpy.testing.assert_array_equal(to_cpu(a.array), to_cpu(b.array))


def test_inference_layers_match_caffe_function(device, tmp_path):
    for path in (
        caffemodels.write_vgg19(tmp_path / 'vgg19.caffemodel', width=16),
        caffemodels.write_googlenet(tmp_path / 'googlenet.caffemodel', width=8),
    ):
        ours, chainers = Caffemodel(path).to_device(device), CaffeFunction(str(path))
        blobs = [tops[0] for _, _, tops in ours.layers]
        x = numpy.random.RandomState(0).randn(2, 3, 224, 224).astype('float32')
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            outputs = ours(inputs={'data': device.send(x)}, outputs=blobs)
            expected = chainers(inputs={'data': x}, outputs=blobs)
        for blob, a, b in zip(blobs, outputs, expected):
            atol = 1e-4 * abs(b.array).max()
            a = to_cpu(a.array)
            numpy.testing.assert_allclose(a, b.array, rtol=0, atol=atol, err_msg=blob)


def test_groups_splits_and_batch_normalization_match_caffe_function(tmp_path):
    writer = caffemodels.Writer()
    writer.convolution('conv', 'data', 2, 8, 3)
    writer.net.layer[0].convolution_param.group = 2
    split = writer.net.layer.add(name='split', type='Split', bottom=['conv'], top=['a', 'b'])
    assert split.top
    norm = writer.net.layer.add(name='norm', type='BatchNorm', bottom=['a'], top=['norm'])
    for values in ([1.5] * 8, [2.5] * 8, [0.5]):
        blob = norm.blobs.add()
        blob.shape.dim.append(len(values))
        blob.data.extend(values)
        blob.diff.extend(values)
    scale = writer.net.layer.add(name='scale', type='Scale', bottom=['norm'], top=['scale'])
    blob = scale.blobs.add()
    blob.shape.dim.append(8)
    blob.data.extend(range(8))
    ours, chainers = assert_same_network(writer.write(tmp_path / 'net.caffemodel'))
    numpy.testing.assert_array_equal(ours.norm.avg_mean, chainers.norm.avg_mean)
    assert ours.norm.avg_mean[0] == 3


def test_reads_unpacked_weights_and_doubles(tmp_path):
    def blob(data):
        # Field 7 of the blob: its shape, 2 x 1. Then the numbers.
        message = b'\x3a\x04\x0a\x02\x02\x01' + data
        return b'\x3a' + bytes([len(message)]) + message  # field 7 of the layer

    unpacked = b''.join(b'\x2d' + struct.pack('<f', value) for value in (1.5, -2))
    doubles = b'\x42\x10' + struct.pack('<2d', 1.5, -2)
    head = caffe_pb.LayerParameter(name='fc', type='InnerProduct', bottom=['data'], top=['fc'])
    head.inner_product_param.bias_term = False
    for data in unpacked, doubles:
        layer = head.SerializeToString() + blob(data)
        path = tmp_path / 'net.caffemodel'
        path.write_bytes(b'\xa2\x06' + bytes([len(layer)]) + layer)  # field 100 of the network
        numpy.testing.assert_array_equal(Caffemodel(path).fc.W.array, [[1.5], [-2]])


@pytest.mark.parametrize('old_format', [False, True])
def test_layers_may_have_any_names(tmp_path, old_format):
    names = 'conv', 'pool', 'fc'
    x = numpy.random.RandomState(0).randn(2, 3, 8, 8).astype('float32')

    def compute(new_names):
        writer = caffemodels.Writer(old_format)
        writer.convolution('conv', 'data', 3, 20, 3, pad=1)
        writer.layer('POOLING', 'pool', 'conv', 'pool').pooling_param.kernel_size = 8
        writer.inner_product('fc', 'pool', 20, 5)
        layers = writer.net.layers or writer.net.layer
        for layer in layers:
            if layer.name in names:
                layer.name = new_names[names.index(layer.name)]
        network = Caffemodel(writer.write(tmp_path / 'net.caffemodel'))
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            (output,) = network(inputs={'data': x}, outputs=['fc'])
        return output.array

    expected = compute(names)
    for new_names in [
        ('same', 'same', 'same'),
        ('relu_conv', 'relu_conv', 'relu_conv'),
        ('a', 'a', 'a_2'),
        ('forwards', 'xp', 'params'),
        ('variables', 'name', 'unsupported'),
        ('', 'a/b', 'c.d'),
        ('__class__', '__call__', '__dict__'),
    ]:
        numpy.testing.assert_array_equal(compute(new_names), expected)


def test_sizes_may_be_given_for_each_axis(tmp_path):
    writer = caffemodels.Writer()
    param = writer.layer('CONVOLUTION', 'conv', 'data', 'conv').convolution_param
    for field, pair in ('kernel_size', (3, 5)), ('pad', (0, 2)), ('stride', (2, 1)):
        getattr(param, field).extend(pair)
    writer._add_blobs(writer.net.layer[0], (4, 3, 3, 5), (4,))
    path = writer.write(tmp_path / 'net.caffemodel')
    x = numpy.random.RandomState(0).randn(2, 3, 9, 8).astype('float32')
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        (output,) = Caffemodel(path)(inputs={'data': x}, outputs=['conv'])
        (expected,) = CaffeFunction(str(path))(inputs={'data': x}, outputs=['conv'])
    numpy.testing.assert_allclose(output.array, expected.array, rtol=1e-4, atol=1e-5)


def test_names_that_are_not_text_raise_decode_errors(tmp_path):
    path = tmp_path / 'net.caffemodel'
    path.write_bytes(b'\xa2\x06\x04\x0a\x02\xff\xfe')  # field 1 of field 100: a layer's name
    with pytest.raises((DecodeError, UnicodeDecodeError)):
        Caffemodel(path)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_only_decode_errors(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / 'arbitrary.caffemodel'
    path.write_bytes(content)
    try:
        network = Caffemodel(path)
    except DecodeError:
        return
    assert network.layers == []


@pytest.mark.skipif(sys.platform != 'linux', reason='reads peak memory from /proc')
def test_loading_needs_little_more_memory_than_the_weights(tmp_path):
    writer = caffemodels.Writer()
    layer = writer.layer('INNER_PRODUCT', 'fc', 'data', 'fc')
    layer.inner_product_param.bias_term = False
    blob = layer.blobs.add()
    blob.shape.dim.extend((5000, 5000))
    # Field 5 of the blob, 100 million bytes; adding numbers one by one takes many seconds.
    blob.MergeFromString(b'\x2a\x80\xc2\xd7\x2f' + bytes(100_000_000))
    path = writer.write(tmp_path / 'net.caffemodel')
    output = subprocess.run(
        [sys.executable, '-c', LOAD, path], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    assert 0.9 * path.stat().st_size < int(output) < 1.3 * path.stat().st_size
