"""Caffemodels as ONNX graphs, which compute what Caffe computes.

Weights stay in the caffemodel: the graph says where they are (ONNX's external data). Spatial sizes
are fixed, since Caffe's pooling depends on them.
"""

import math

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.caffe.layers import CONVERTERS, SizeError, check_blobs, type_of

OPSET = 17


class Graph:
    """A graph in the making.

    Attributes:
        nodes (list of onnx.NodeProto), initializers (list of onnx.TensorProto): Its content.
        shapes (dict): From names of tensors to their shapes without the batch.
    """

    def __init__(self, location):
        self.nodes = []
        self.initializers = []
        self.shapes = {}
        self._location = location

    def add(self, operation, inputs, outputs, shape=None, **attributes):
        """Adds a node; without a shape, its outputs have that of the first input."""
        self.nodes.append(helper.make_node(operation, inputs, outputs, **attributes))
        self.shapes |= dict.fromkeys(outputs, self.shapes[inputs[0]] if shape is None else shape)

    def constant(self, array):
        """Adds an array; returns its name."""
        name = f'constant {len(self.initializers)}'
        self.initializers.append(numpy_helper.from_array(numpy.asarray(array), name))
        return name

    def weights(self, blob, shape):
        """Adds the weights of a blob, which stay in the file if they can; returns their name."""
        if math.prod(shape) != len(blob.data):
            text = ' x '.join(map(str, shape))
            raise ValueError(f'it has {len(blob.data)} weights for the shape {text}')
        if blob.data.offset is None:
            return self.constant(blob.data.read().astype('float32').reshape(shape))
        name = f'weights {len(self.initializers)}'
        tensor = TensorProto(
            name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL
        )
        place = {
            'location': self._location,
            'offset': blob.data.offset,
            'length': 4 * len(blob.data),
        }
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
        return name


def make_model(layers, outputs, image_size, location) -> onnx.ModelProto:
    """Returns the graph of the layers that some blobs depend on.

    Args:
        layers (list of models.caffe.caffemodel_file.Layer): All layers, in their order.
        outputs (list of str): The blobs to compute.
        image_size (int): Height and width of the images.
        location (str): The name of the caffemodel, for the graph.

    Returns:
        onnx.ModelProto: Its input is ``images``, (N, 3, S, S), float32.

    Raises:
        SizeError: If a layer does not take images of this size; the message names it.
        ValueError: If a layer cannot be computed as Caffe does.
    """
    layers = layers_leading_to(outputs, layers)
    graph = Graph(location)
    (source,) = _inputs_of(layers)
    tensors = {source: 'images'}
    graph.shapes['images'] = 3, image_size, image_size
    for number, layer in enumerate(layers):
        inputs = [tensors[blob] for blob in layer.bottom]
        # A layer may replace the blob that it takes.
        names = [f'{blob} {number}' for blob in layer.top]
        try:
            convert = CONVERTERS.get(type_of(layer))
            if convert is None:
                raise ValueError(f'the type {type_of(layer)} is not supported')
            check_blobs(layer)
            convert(graph, layer, inputs, names)
            if any(min(graph.shapes[name], default=1) < 1 for name in names):
                raise SizeError(f'does not take inputs of {graph.shapes[inputs[0]]}')
        except (ValueError, ArithmeticError, LookupError, TypeError) as error:
            kind = SizeError if isinstance(error, SizeError) else ValueError
            raise kind(f'layer {layer.name!r}: {error}') from error
        tensors |= dict(zip(layer.top, names))
    for blob in outputs:
        graph.nodes.append(helper.make_node('Identity', [tensors[blob]], [blob]))
    images = helper.make_tensor_value_info(
        'images', TensorProto.FLOAT, ['N', 3, image_size, image_size]
    )
    results = [onnx.ValueInfoProto(name=blob) for blob in outputs]
    body = helper.make_graph(graph.nodes, 'caffemodel', [images], results, graph.initializers)
    opset = helper.make_opsetid('', OPSET)
    return helper.make_model(body, opset_imports=[opset], ir_version=8)


def layers_leading_to(blobs, layers):
    """Returns those of all layers that some blobs depend on."""
    wanted = {*blobs}
    needed = []
    for layer in reversed(layers):
        if not wanted.isdisjoint(layer.top) and layer.bottom:
            needed.append(layer)
            wanted.update(layer.bottom)
    return needed[::-1]


def _inputs_of(layers):
    """Returns the blobs that layers take but do not compute: the images."""
    inputs = set()
    computed = set()
    for layer in layers:
        inputs.update(blob for blob in layer.bottom if blob not in computed)
        computed.update(layer.top)
    if len(inputs) != 1:
        names = ', '.join(map(repr, sorted(inputs))) or 'no blob'
        raise ValueError(f'it is computed from {names}, not from images alone')
    return inputs
