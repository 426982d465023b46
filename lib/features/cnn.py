"""CNNs, which compute the features of images."""

import os
import warnings

import numpy
import onnxruntime

from lib.errors import InputError, InputWarning
from lib.features.graphs import read_graph
from models.caffe.on_gpu import ChainerGraph

# Where ONNX Runtime looks for the weights that are not in the graph: in the caffemodel.
FOLDER_KEY = 'session.model_external_initializers_file_folder_path'
CUDA = 'CUDAExecutionProvider'


class CNN:
    """A network that turns images into features.

    Args:
        path, layer, image_size: As for :func:`lib.features.graphs.read_graph`.
        device (chainer.backend.Device): Where to compute.

    Attributes:
        layers (list of str): The tensors that are computed.
        image_size (int): Width and height of the images.
        has_channels_last (bool): Whether arrays of the network have the channels last.

    Raises:
        InputError: If the file is not a network, or does not have a layer.
    """

    def __init__(self, path, layer, image_size, device):
        graph = read_graph(path, layer, image_size)
        self.layers = graph.layers
        self.image_size = graph.image_size
        self.has_channels_last = graph.has_channels_last
        self._path = path
        self._n_images = graph.n_images
        self._run = _make_run(graph, path, device)

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
            return self._run(images) if self._n_images is None else self._run_in_batches(images)
        except Exception as error:  # ONNX Runtime's and Chainer's kinds have no common class
            raise InputError(
                f'{self.image_size}: {self._path} takes images of another size, or is damaged: '
                f'{_one_line(error)}',
                'image_size',
            ) from error

    def _run_in_batches(self, images):
        """Computes the layers of images with a graph that fixes their number."""
        results = []
        for start in range(0, len(images), self._n_images):
            batch = images[start : start + self._n_images]
            filled = numpy.resize(batch, (self._n_images, *batch.shape[1:]))
            results.append([array[: len(batch)] for array in self._run(filled)])
        return [numpy.concatenate(arrays) for arrays in zip(*results)]


def _make_run(graph, path, device):
    """Returns a function from images to the arrays of the layers."""
    providers = onnxruntime.get_available_providers()
    wants_gpu = device.xp is not numpy
    if wants_gpu and CUDA not in providers:
        if graph.is_caffemodel:
            return ChainerGraph(graph.model, path, device)
        note = f'{path}: onnxruntime-gpu is not installed, so the CPU computes features'
        warnings.warn(note, InputWarning, stacklevel=5)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if graph.is_caffemodel:  # hundreds of megabytes, which stay in the file and are not copied
        folder = os.path.dirname(os.path.abspath(path))
        options.add_session_config_entry(FOLDER_KEY, folder)
        options.add_session_config_entry('session.disable_prepacking', '1')
    provider = CUDA if wants_gpu and CUDA in providers else 'CPUExecutionProvider'
    try:
        session = onnxruntime.InferenceSession(
            graph.model.SerializeToString(), options, providers=[provider]
        )
    except Exception as error:  # as above
        raise InputError(f'{path}: ONNX Runtime cannot load it ({_one_line(error)})') from error
    name = session.get_inputs()[0].name
    layers = graph.layers  # the session has its own copy of the rest
    return lambda images: session.run(layers, {name: images})


def _one_line(error):
    return ' '.join(str(error).split())[:300]
