"""Reading CNNs as graphs for ONNX Runtime: ONNX models, and caffemodels, which are converted."""

import os
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from lib.errors import InputError
from lib.features.feature_source import LAYER_SEPARATOR
from lib.files.input import check_input
from models.caffe.caffemodel_file import read_layers
from models.caffe.layers import SizeError
from models.caffe.to_onnx import make_model

# Operations of fully connected layers.
FULLY_CONNECTED = 'Gemm', 'MatMul'
# Layers that an error message names.
N_NAMED = 8


class Graph(NamedTuple):
    """A network that computes some layers of images.

    Attributes:
        model (onnx.ModelProto): Its outputs are the layers. The weights of a caffemodel stay in its
            file.
        layers (list of str): Names of tensors of the graph, or of blobs of the caffemodel.
        image_size (int): Width and height of the images.
        has_channels_last (bool): Whether arrays of the network have the channels last.
        n_images (int): The number of images that it takes at once; None if it takes any.
        is_caffemodel (bool): Whether the file is one.
    """

    model: onnx.ModelProto
    layers: list[str]
    image_size: int
    has_channels_last: bool = False
    n_images: int | None = None
    is_caffemodel: bool = False


def read_graph(path: str, layer: str | None, image_size: int | None) -> Graph:
    """Reads a network up to some layers.

    Args:
        path (str): An ONNX model, or a caffemodel in Caffe's old (V1) or new format.
        layer (str): The layer, or several with ``+`` between them; by default ``fc7`` of a
            caffemodel, and of an ONNX model the only output that is a vector, or else the input of
            the last fully connected layer.
        image_size (int): Width and height of the images; by default those that the graph fixes.

    Raises:
        InputError: If the file is neither, or does not have a layer.
    """
    is_onnx = os.fspath(path).lower().endswith('.onnx')
    try:
        check_input(path)
        return (_read_onnx if is_onnx else _read_caffemodel)(path, layer, image_size)
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: not a network in ONNX or Caffe, or cut short') from error


def _read_caffemodel(path, layer, image_size):
    described = read_layers(path)
    if not described:
        raise InputError(f'{path}: not a caffemodel with layers')
    blobs = [*dict.fromkeys(blob for layer in described for blob in layer.top)]
    layers = _choose_layers(path, layer or 'fc7', blobs, blobs[-N_NAMED:])
    image_size = image_size or 224
    try:
        model = make_model(described, layers, image_size, os.path.basename(path))
    except SizeError as error:
        raise InputError(
            f'{image_size}: {path} takes images of another size (VGG and GoogLeNet 224, '
            f'AlexNet and SqueezeNet 227), or is damaged: {error}',
            'image_size',
        ) from error
    except ValueError as error:
        raise InputError(f'{path}: {error}') from error
    return Graph(model, layers, image_size, is_caffemodel=True)


def _read_onnx(path, layer, image_size):
    model = onnx.load(path, load_external_data=False)
    nodes = model.graph.node
    outputs = model.graph.output
    if not nodes:
        raise InputError(f'{path}: not an ONNX model with layers')
    _check_self_contained(path, model)
    n_images, image_size, has_channels_last = _read_shape(path, model.graph, image_size)
    penultimate = [node.input[0] for node in nodes if node.op_type in FULLY_CONNECTED]
    vectors = [output.name for output in outputs if _rank(output) == 2]
    names = [output.name for output in outputs]
    default = vectors[0] if len(vectors) == 1 else (penultimate or names)[-1]
    sensible = [*dict.fromkeys([*names, *penultimate[::-1]])][:N_NAMED]
    tensors = [name for node in nodes for name in node.output]
    layers = _choose_layers(path, layer or default, tensors, sensible)
    _keep(model.graph, layers)
    return Graph(model, layers, image_size, has_channels_last, n_images)


def _read_shape(path, graph, image_size):
    """Returns how many images a graph takes, their size, and whether channels are last."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise InputError(f'{path}: takes {len(inputs)} inputs, not images alone')
    tensor = inputs[0].type.tensor_type
    shape = [dim.dim_value for dim in tensor.shape.dim]
    if len(shape) != 4 or tensor.elem_type != TensorProto.FLOAT:
        raise InputError(f'{path}: its input "{inputs[0].name}" is not images in float32')
    has_channels_last = shape[3] == 3 and shape[1] != 3
    height, width = shape[1:3] if has_channels_last else shape[2:]
    if height != width:
        raise InputError(f'{path}: takes images of {width} x {height}, which are not square')
    if height and image_size not in (None, height):
        raise InputError(f'{image_size}: {path} takes images of {height}', 'image_size')
    return shape[0] or None, image_size or height or 224, has_channels_last


def _choose_layers(path, layer, names, sensible):
    """Splits ``layer`` into names of the network; the error suggests sensible ones."""
    layers = [layer] if layer in names else layer.split(LAYER_SEPARATOR)
    for name in layers:
        if name not in names:
            raise InputError(
                f'{name}: {path} has no such layer; try {", ".join(sensible)}', 'layer'
            )
    return layers


def _check_self_contained(path, model):
    """Checks that no tensor of a graph is in another file."""
    tensors = [*model.graph.initializer]
    for node in model.graph.node:
        tensors += [attribute.t for attribute in node.attribute if attribute.HasField('t')]
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
        raise InputError(
            f'{path}: has weights in another file, which is not read; save it as one file: '
            'onnx.save(onnx.load(path), "one_file.onnx")'
        )


def _rank(value):
    """Returns the number of dimensions of an output, None if the graph does not say."""
    tensor = value.type.tensor_type
    return len(tensor.shape.dim) if tensor.HasField('shape') else None


def _keep(graph, layers):
    """Leaves only the nodes that some tensors depend on, and makes these the outputs."""
    wanted = {*layers}
    nodes = []
    for node in reversed(graph.node):
        if not wanted.isdisjoint(node.output):
            nodes.append(node)
            wanted.update(node.input)
            for attribute in node.attribute:  # of a branch or a loop
                for inner in attribute.g.node:
                    wanted.update(inner.input)
    known = {output.name: output for output in graph.output}
    outputs = [known.get(name) or onnx.ValueInfoProto(name=name) for name in layers]
    nodes, outputs = [*map(_copy, nodes[::-1])], [*map(_copy, outputs)]
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend(outputs)


def _copy(message):
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
