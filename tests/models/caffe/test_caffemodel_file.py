import struct

import numpy
import pytest
from chainer.links.caffe.caffe_function import caffe_pb
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from models.caffe.caffemodel_file import read_layers


def write_blob(path, data):
    """Writes a network of a fully connected layer, whose weights are 2 x 1 numbers in some form."""
    # Field 7 of the blob: its shape. Then the numbers.
    message = b'\x3a\x04\x0a\x02\x02\x01' + data
    head = caffe_pb.LayerParameter(name='fc', type='InnerProduct', bottom=['data'], top=['fc'])
    layer = head.SerializeToString() + b'\x3a' + bytes([len(message)]) + message
    path.write_bytes(b'\xa2\x06' + bytes([len(layer)]) + layer)  # field 100 of the network


def test_weights_are_read_from_the_file_in_whatever_form(tmp_path):
    packed = b'\x2a\x08' + struct.pack('<2f', 1.5, -2)
    unpacked = b''.join(b'\x2d' + struct.pack('<f', value) for value in (1.5, -2))
    doubles = b'\x42\x10' + struct.pack('<2d', 1.5, -2)
    for data, is_in_one_piece in (packed, True), (unpacked, False), (doubles, False):
        write_blob(tmp_path / 'net.caffemodel', data)
        ((blob,),) = (layer.blobs for layer in read_layers(tmp_path / 'net.caffemodel'))
        numpy.testing.assert_array_equal(blob.data.read(), [1.5, -2])
        assert (blob.data.offset is not None) == is_in_one_piece


def test_names_that_are_not_text_raise_decode_errors(tmp_path):
    path = tmp_path / 'net.caffemodel'
    path.write_bytes(b'\xa2\x06\x04\x0a\x02\xff\xfe')  # field 1 of field 100: a layer's name
    with pytest.raises((DecodeError, UnicodeDecodeError)):
        read_layers(path)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_only_decode_errors(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / 'arbitrary.caffemodel'
    path.write_bytes(content)
    try:
        assert read_layers(path) == []
    except DecodeError:
        return
