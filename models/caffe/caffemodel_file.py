"""The layers in a caffemodel file, of which only the description is read at once."""

import mmap
import os

import numpy
from chainer.links.caffe.caffe_function import caffe_pb
from google.protobuf.message import DecodeError

# Field numbers of caffe.proto.
LAYERS_V1, LAYERS = 2, 100  # in NetParameter: the old and the new format
BLOBS_V1, BLOBS = 6, 7  # in V1LayerParameter and LayerParameter
DATA, DIFF = 5, 6  # in BlobProto: the weights, and their gradients
# Wire types of protobuf.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Layer:
    """A layer's description; the weights of its blobs stay in the file.

    Attributes:
        blobs (list of Blob): Its weights.
    """

    def __init__(self, message, blobs):
        self._message = message
        self.blobs = blobs

    def __getattr__(self, name):
        return getattr(self._message, name)


class Blob:
    """A blob's shape; its ``data`` are :class:`Numbers`, which stay in the file."""

    def __init__(self, message, data):
        self._message = message
        self.data = data

    def __getattr__(self, name):
        return getattr(self._message, name)


class Numbers:
    """A sequence of numbers, in one piece in a file or in memory.

    Attributes:
        offset (int): Where it begins in the file, float32; None if it is in memory.
    """

    def __init__(self, path, offset, length, array=None):
        self._path = path
        self._length = length
        self._array = array
        self.offset = offset

    def __len__(self):
        return self._length

    def read(self):
        """Returns the numbers, (n,), float32 or float64."""
        if self._array is not None:
            return self._array
        return numpy.fromfile(self._path, '<f4', self._length, offset=self.offset)


def read_layers(path) -> list[Layer]:
    """Reads the description of each layer of a caffemodel, in Caffe's old (V1) or new format.

    Raises:
        google.protobuf.message.DecodeError: If the file is not a caffemodel, or cut short.
        OSError: If it cannot be read.
    """
    layers = {LAYERS_V1: [], LAYERS: []}
    with open(path, 'rb') as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise DecodeError('the file is empty')
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            for number, wire_type, start, stop, _ in _fields(buffer, 0, len(buffer)):
                if number in layers and wire_type == BYTES:
                    is_old = number == LAYERS_V1
                    layers[number].append(_read_layer(path, buffer, start, stop, is_old))
    return layers[LAYERS] or layers[LAYERS_V1]


def _read_layer(path, buffer, start, stop, is_old):
    message = caffe_pb.V1LayerParameter() if is_old else caffe_pb.LayerParameter()
    description, blobs = bytearray(), []
    for number, wire_type, first, last, key in _fields(buffer, start, stop):
        if number == (BLOBS_V1 if is_old else BLOBS) and wire_type == BYTES:
            blobs.append(_read_blob(path, buffer, first, last))
        else:
            description += buffer[key:last]
    message.ParseFromString(bytes(description))
    # Protobuf returns names as bytes if they are not UTF-8.
    if not all(isinstance(name, str) for name in (message.name, *message.bottom, *message.top)):
        raise DecodeError('a name is not text')
    return Layer(message, blobs)


def _read_blob(path, buffer, start, stop):
    description, n_parts, data = bytearray(), 0, None
    for number, _, first, last, key in _fields(buffer, start, stop):
        if number == DATA:
            data = Numbers(path, first, (last - first) // 4)
            n_parts += 1
        elif number != DIFF:
            description += buffer[key:last]
    message = caffe_pb.BlobProto()
    message.ParseFromString(bytes(description))
    if n_parts != 1 or message.double_data:
        array = _gather_data(buffer, start, stop, message.double_data)
        data = Numbers(path, None, len(array), array)
    return Blob(message, data)


def _gather_data(buffer, start, stop, doubles):
    """Returns the numbers of a blob in one array; protobuf allows to write them in parts."""
    data = bytearray()
    for number, _, first, last, _ in _fields(buffer, start, stop):
        if number == DATA:
            data += buffer[first:last]
    floats = numpy.frombuffer(data, '<f4')
    return numpy.concatenate([floats, numpy.array(doubles)]) if doubles else floats


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
