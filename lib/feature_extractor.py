"""Image features from a Caffe network."""

from lib.caffemodel import Caffemodel
from lib.errors import InputError
from lib.photographs import prepare

import chainer
import numpy
from chainer.utils.type_check import InvalidType
from google.protobuf.message import DecodeError


class FeatureExtractor:
    """A caffemodel that turns pictures into features.

    Args:
        path (str): The ``.caffemodel``, in Caffe's old (V1) or new format.
        source (lib.features.FeatureSource): Layer and preparation of the pictures.
        device (chainer.backend.Device): Where to compute.
        batch_size (int): Pictures that go through the convolutions at once. Fully connected
            layers, whose weights take longer to read than to multiply, take all there are.

    Raises:
        InputError: If the file is no caffemodel or has no such layer.
    """

    def __init__(self, path, source, device, batch_size):
        self._source, self._device, self._batch_size = source, device, batch_size
        self._network = _load(path)
        self._network.to_device(device)
        layers = self._network.layers
        produced = [blob for _, _, tops in layers for blob in tops]
        if source.layer not in produced:
            raise InputError(f'--layer {source.layer}: {path} has no such layer, only '
                             f'{", ".join(dict.fromkeys(produced)) or "none"}')
        needed = _leading_to(source.layer, layers)
        self._skipped = {name for name, _, _ in layers} - {name for name, _, _ in needed}
        self._input = next(blob for _, bottoms, _ in needed for blob in bottoms
                           if blob not in produced)
        self._bottleneck = _before_fully_connected(self._network, needed) or source.layer

    def prepare(self, image):
        """Makes the network's input (3, S, S), float32, of an RGB picture of any size."""
        source = self._source
        return prepare(image, source.image_size, source.mean, source.resize)

    def __call__(self, pixels):
        """Computes the features of pictures.

        Args:
            pixels (sequence of array): Pictures from :meth:`prepare`.

        Returns:
            array: One row per picture, (n, D), float32, on the extractor's device. A layer
            with height and width is flattened.

        Raises:
            InputError: If the network does not take pictures of this size.
        """
        try:
            features = self._device.xp.concatenate([
                self._run(self._input, numpy.stack(pixels[start:start + self._batch_size]),
                          self._bottleneck)
                for start in range(0, len(pixels), self._batch_size)])
            if self._bottleneck != self._source.layer:
                features = self._run(self._bottleneck, features, self._source.layer)
        except (InvalidType, AssertionError) as error:
            # Chainer asserts that something is left of a picture after each layer.
            raise InputError(
                f'--image-size {self._source.image_size}: {self._source.network} takes pictures '
                'of another size (VGG and GoogLeNet 224, AlexNet and SqueezeNet 227)') from error
        return features.reshape(len(pixels), -1)

    def _run(self, from_blob, array, to_blob):
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            output, = self._network(inputs={from_blob: self._device.send(array)},
                                    outputs=[to_blob], disable=self._skipped)
        # CaffeFunction would keep every layer's output until the next call.
        self._network.variables = {}
        return output.array


def _load(path):
    try:
        network = Caffemodel(path)
    except DecodeError as error:
        raise InputError(f'{path}: not a caffemodel, or cut short') from error
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f'{path}: CaffeFunction cannot load it ({error})') from error
    if not network.layers:
        raise InputError(f'{path}: not a caffemodel with layers')
    return network


def _leading_to(blob, layers):
    """Returns the layers, of all there are, that ``blob`` depends on."""
    wanted, needed = {blob}, []
    for layer in reversed(layers):
        _, bottoms, tops = layer
        if not wanted.isdisjoint(tops):
            needed.insert(0, layer)
            wanted.update(bottoms)
    return needed


def _before_fully_connected(network, layers):
    """Names the blob that the first fully connected layer takes in.

    None if there is no such layer, or what follows depends on other blobs too.
    """
    for position, (name, bottoms, _) in enumerate(layers):
        if isinstance(getattr(network, name, None), chainer.links.Linear):
            made = {blob for _, _, tops in layers[position:] for blob in tops}
            taken = {blob for _, blobs, _ in layers[position:] for blob in blobs}
            return bottoms[0] if taken - made == set(bottoms) else None
    return None
