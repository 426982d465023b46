"""Caffemodels that load and run in little time and memory.

Chainer's CaffeFunction parses the whole file with protobuf and then copies its lists of
numbers: for VGG19 that takes 10 s and three times the memory of the file. Here protobuf
parses only the description of each layer; the weights are read from the file straight into
the parameters.
"""

import contextlib
import mmap
import os

import chainer.functions as F
import chainer.links as L
import numpy
from chainer.initializers import constant
from chainer.links.caffe import CaffeFunction, caffe_function
from google.protobuf.message import DecodeError

from models.caffe.layers import Convolution, max_pooling_2d, relu_in_place

caffe_pb = caffe_function.caffe_pb

# Field numbers of caffe.proto.
LAYERS_V1, LAYERS = 2, 100  # in NetParameter: the old and the new format
BLOBS_V1, BLOBS = 6, 7  # in V1LayerParameter and LayerParameter
DATA, DIFF = 5, 6  # in BlobProto: the weights, and their gradients
# Wire types of protobuf.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Caffemodel(CaffeFunction):
    """A CaffeFunction that loads in the time it takes to read its file.

    Without gradients (``chainer.no_backprop_mode()``) it uses :mod:`models.caffe.layers`.

    Args:
        path (str): A ``.caffemodel`` in Caffe's old (V1) or new format.

    Raises:
        google.protobuf.message.DecodeError: If the file is not a caffemodel, or cut short.
    """

    def __init__(self, path):
        # Not CaffeFunction's own constructor, which this one replaces.
        super(CaffeFunction, self).__init__()
        self.forwards, self.split_map, self.layers = {}, {}, []
        with open(path, 'rb') as file, _without_gradient_initialization():
            old, new = _read_layers(file)
            for layer in new or old:
                setup_of = (
                    caffe_function._type_to_method if new else caffe_function._oldname_to_method
                )
                # Like CaffeFunction, skips layers that only training needs.
                if layer.type in setup_of:
                    setup_of[layer.type](self, layer)
        self.cleargrads()
        self._use_layers_for_inference()

    def _use_layers_for_inference(self):
        # Blobs that a convolution or fully connected layer has allocated, so that an in-place
        # ReLU may overwrite them.
        temporary = set()
        for name, bottoms, tops in self.layers:
            forward = self.forwards[name]
            link = getattr(self, name, None)
            if type(link) is L.Convolution2D:
                self.forwards[name] = Convolution(link)
            elif getattr(forward, 'func', None) is F.max_pooling_2d:
                forward.func = max_pooling_2d
            elif forward is F.relu and bottoms == tops and temporary.issuperset(bottoms):
                self.forwards[name] = relu_in_place
            if isinstance(link, (L.Convolution2D, L.Linear)):
                temporary.update(tops)


@contextlib.contextmanager
def _without_gradient_initialization():
    """Keeps Chainer from filling the gradient of each new parameter with NaN.

    The gradients are dropped after loading. As long as nothing is written to them, they take
    no memory, otherwise as much as the network.
    """
    fill = constant.NaN.__call__
    constant.NaN.__call__ = lambda self, array: None
    try:
        yield
    finally:
        constant.NaN.__call__ = fill


class Layer:
    """A layer's description; the weights of its blobs stay in the file."""

    def __init__(self, message, blobs):
        self._message, self.blobs = message, blobs

    def __getattr__(self, name):
        return getattr(self._message, name)


class Blob:
    """A blob's shape; its ``data`` is a sequence of numbers that is read when sliced."""

    def __init__(self, message, data):
        self._message, self.data = message, data

    def __getattr__(self, name):
        return getattr(self._message, name)


class FloatsInFile:
    """A contiguous sequence of single-precision numbers in a file."""

    def __init__(self, file, offset, length):
        self._file, self._offset, self._length = file, offset, length

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        if not isinstance(index, slice):
            return self[index : index + 1][0]
        start, stop, _ = index.indices(self._length)
        self._file.seek(self._offset + 4 * start)
        return numpy.fromfile(self._file, '<f4', stop - start)


def _read_layers(file):
    """Returns the layers of the old and of the new format, in two lists."""
    if os.fstat(file.fileno()).st_size == 0:
        raise DecodeError('the file is empty')
    layers = {LAYERS_V1: [], LAYERS: []}
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        for number, wire_type, start, stop, _ in _fields(buffer, 0, len(buffer)):
            if number in layers and wire_type == BYTES:
                layers[number].append(_read_layer(file, buffer, start, stop, number == LAYERS_V1))
    return layers[LAYERS_V1], layers[LAYERS]


def _read_layer(file, buffer, start, stop, is_old):
    message = caffe_pb.V1LayerParameter() if is_old else caffe_pb.LayerParameter()
    description, blobs = bytearray(), []
    for number, wire_type, first, last, key in _fields(buffer, start, stop):
        if number == (BLOBS_V1 if is_old else BLOBS) and wire_type == BYTES:
            blobs.append(_read_blob(file, buffer, first, last))
        else:
            description += buffer[key:last]
    message.ParseFromString(bytes(description))
    return Layer(message, blobs)


def _read_blob(file, buffer, start, stop):
    description, data = bytearray(), []
    for number, wire_type, first, last, key in _fields(buffer, start, stop):
        if number == DATA and wire_type == BYTES:
            data.append(FloatsInFile(file, first, (last - first) // 4))
        elif number == DATA:
            # Protobuf allows numbers to be written one by one.
            data.append(numpy.frombuffer(buffer[first:last], '<f4'))
        elif number != DIFF:
            description += buffer[key:last]
    message = caffe_pb.BlobProto()
    message.ParseFromString(bytes(description))
    if message.double_data:
        data.append(numpy.array(message.double_data))
    if len(data) == 1:
        return Blob(message, data[0])
    return Blob(
        message, numpy.concatenate([numpy.empty(0, 'float32'), *(part[:] for part in data)])
    )


def _fields(buffer, start, stop):
    """Yields number and wire type of each field, start and stop of its value, start of its key."""
    position = start
    while position < stop:
        key_start = position
        key, position = _varint(buffer, position, stop)
        number, wire_type = key >> 3, key & 7
        length = {FIXED64: 8, FIXED32: 4}.get(wire_type)
        if wire_type == BYTES:
            length, position = _varint(buffer, position, stop)
        elif wire_type == VARINT:
            length = _varint(buffer, position, stop)[1] - position
        if length is None or position + length > stop:
            raise DecodeError('not a protobuf message, or cut short')
        yield number, wire_type, position, position + length, key_start
        position += length


def _varint(buffer, position, stop):
    value = shift = 0
    while position < stop and shift < 64:
        byte = buffer[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
    raise DecodeError('not a protobuf message, or cut short')
