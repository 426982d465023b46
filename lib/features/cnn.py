"""CNNs, which compute the features of images: ONNX models and caffemodels."""

import os
import warnings

import numpy
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import TensorProto

from lib.errors import InputError, InputWarning
from lib.features.feature_source import LAYER_SEPARATOR
from lib.files.input import check_input
from models.caffe.caffemodel_file import read_layers
from models.caffe.layers import SizeError
from models.caffe.on_gpu import ChainerGraph
from models.caffe.to_onnx import make_model

# Operations of fully connected layers.
FULLY_CONNECTED = 'Gemm', 'MatMul'
# Layers that an error message names.
N_NAMED = 8
# Where ONNX Runtime looks for the weights that are not in the graph: in the caffemodel.
FOLDER_KEY = 'session.model_external_initializers_file_folder_path'
CUDA = 'CUDAExecutionProvider'


class CNN:
    """A network that turns images into features.

    Args:
        path (str): An ONNX model, or a caffemodel in Caffe's old (V1) or new format.
        layer (str): The tensor of the graph, or blob of the caffemodel, to compute, or several with
            ``+`` between them; by default ``fc7`` of a caffemodel, and of an ONNX model the only
            output that is a vector, or else the input of the last fully connected layer.
        image_size (int): Width and height of the images; by default those that the graph fixes.
        device (chainer.backend.Device): Where to compute.

    Attributes:
        layers (list of str): The tensors that are computed.
        image_size (int): Width and height of the images.
        has_channels_last (bool): Whether arrays of the network have the channels last.

    Raises:
        InputError: If the file is neither, or does not have a layer.
    """

    def __init__(self, path, layer, image_size, device):
        self._path = path
        self._batch = None
        model = self._load(path, layer, image_size)
        self._run = self._make_run(model, path, device)

    def _load(self, path, layer, image_size):
        """Returns the graph of the layers, and sets the attributes."""
        try:
            check_input(path)
            if os.fspath(path).lower().endswith('.onnx'):
                return self._load_onnx(path, layer, image_size)
            return self._load_caffemodel(path, layer, image_size)
        except OSError as error:
            raise InputError(f'{path}: {error.strerror}') from error
        except (DecodeError, UnicodeDecodeError) as error:
            raise InputError(f'{path}: not a network in ONNX or Caffe, or cut short') from error

    def _load_caffemodel(self, path, layer, image_size):
        described = read_layers(path)
        if not described:
            raise InputError(f'{path}: not a caffemodel with layers')
        blobs = [*dict.fromkeys(blob for layer in described for blob in layer.top)]
        self.layers = self._choose(layer, blobs, blobs[-N_NAMED:], 'fc7')
        self.image_size = image_size or 224
        self.has_channels_last = False
        self._is_caffemodel = True
        try:
            return make_model(described, self.layers, self.image_size, os.path.basename(path))
        except SizeError as error:
            raise InputError(
                f'{self.image_size}: {path} takes images of another size (VGG and GoogLeNet 224, '
                f'AlexNet and SqueezeNet 227), or is damaged: {error}',
                'image_size',
            ) from error
        except ValueError as error:
            raise InputError(f'{path}: {error}') from error

    def _load_onnx(self, path, layer, image_size):
        model = onnx.load(path, load_external_data=False)
        graph = model.graph
        if not graph.node:
            raise InputError(f'{path}: not an ONNX model with layers')
        _check_self_contained(path, model)
        constants = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        if len(inputs) != 1:
            raise InputError(f'{path}: takes {len(inputs)} inputs, not images alone')
        self._read_input(path, inputs[0], image_size)
        self._is_caffemodel = False
        outputs = [output.name for output in graph.output]
        penultimate = [node.input[0] for node in graph.node if node.op_type in FULLY_CONNECTED]
        vectors = [output.name for output in graph.output if _rank(output) == 2]
        default = vectors[0] if len(vectors) == 1 else (penultimate or outputs)[-1]
        names = [name for node in graph.node for name in node.output]
        sensible = [*dict.fromkeys([*outputs, *penultimate[::-1]])][:N_NAMED]
        self.layers = self._choose(layer, names, sensible, default)
        _keep(graph, self.layers)
        return model

    def _read_input(self, path, value, image_size):
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if len(dims) != 4 or value.type.tensor_type.elem_type != TensorProto.FLOAT:
            raise InputError(f'{path}: its input "{value.name}" is not images in float32')
        self.has_channels_last = dims[3] == 3 and dims[1] != 3
        height, width = dims[1:3] if self.has_channels_last else dims[2:]
        if height != width:
            raise InputError(f'{path}: takes images of {width} x {height}, which are not square')
        if height and image_size not in (None, height):
            raise InputError(f'{image_size}: {path} takes images of {height}', 'image_size')
        self.image_size = image_size or height or 224
        self._batch = dims[0] or None

    def _choose(self, layer, names, sensible, default):
        """Returns the layers that are wanted, which must be among some names."""
        layer = layer or default
        layers = [layer] if layer in names else layer.split(LAYER_SEPARATOR)
        for name in layers:
            if name not in names:
                shown = ', '.join(sensible)
                raise InputError(f'{name}: {self._path} has no such layer; try {shown}', 'layer')
        return layers

    def _make_run(self, model, path, device):
        providers = onnxruntime.get_available_providers()
        wants_gpu = device.xp is not numpy
        if wants_gpu and CUDA not in providers:
            if self._is_caffemodel:
                return ChainerGraph(model, path, device)
            note = f'{path}: onnxruntime-gpu is not installed, so the CPU computes features'
            warnings.warn(note, InputWarning, stacklevel=5)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if self._is_caffemodel:  # hundreds of megabytes, which stay in the file and are not copied
            folder = os.path.dirname(os.path.abspath(path))
            options.add_session_config_entry(FOLDER_KEY, folder)
            options.add_session_config_entry('session.disable_prepacking', '1')
        provider = CUDA if wants_gpu and CUDA in providers else 'CPUExecutionProvider'
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=[provider]
            )
        except Exception as error:  # ONNX Runtime's own kinds have no common class
            raise InputError(f'{path}: ONNX Runtime cannot load it ({_one_line(error)})') from error
        name = session.get_inputs()[0].name
        return lambda images: session.run(self.layers, {name: images})

    def __call__(self, images):
        """Computes the layers of images.

        Args:
            images (array): (N, 3, S, S), float32, NumPy.

        Returns:
            list of array: One for each layer, NumPy or on the device.

        Raises:
            InputError: If the network does not take them.
        """
        if self.has_channels_last:
            images = numpy.ascontiguousarray(images.transpose(0, 2, 3, 1))
        try:
            return self._run(images) if self._batch is None else self._run_in_batches(images)
        except Exception as error:  # as above, and Chainer's
            raise InputError(
                f'{self.image_size}: {self._path} takes images of another size, or is damaged: '
                f'{_one_line(error)}',
                'image_size',
            ) from error

    def _run_in_batches(self, images):
        """Computes the layers of images with a graph that fixes their number."""
        results = []
        for start in range(0, len(images), self._batch):
            batch = images[start : start + self._batch]
            filled = numpy.resize(batch, (self._batch, *batch.shape[1:]))
            results.append([array[: len(batch)] for array in self._run(filled)])
        return [numpy.concatenate(arrays) for arrays in zip(*results)]


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


def _one_line(error):
    return ' '.join(str(error).split())[:300]
