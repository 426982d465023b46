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
        batch_size (int): Pictures that go through the network at once.

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
        self._skipped = _not_leading_to(source.layer, layers)
        self._input = next(blob for name, bottoms, _ in layers if name not in self._skipped
                           for blob in bottoms if blob not in produced)

    def __call__(self, images):
        """Computes the features of pictures.

        Args:
            images (list of PIL.Image.Image): RGB pictures of any sizes.

        Returns:
            array: One row per picture, (n, D), float32, on the extractor's device. A layer
            with height and width is flattened.

        Raises:
            InputError: If the network does not take pictures of this size.
        """
        return self._device.xp.concatenate([
            self._extract(images[start:start + self._batch_size])
            for start in range(0, len(images), self._batch_size)])

    def _extract(self, images):
        source = self._source
        pixels = self._device.send(numpy.stack([
            prepare(image, source.image_size, source.mean, source.resize) for image in images]))
        try:
            with chainer.using_config('train', False), chainer.no_backprop_mode():
                features, = self._network(inputs={self._input: pixels}, outputs=[source.layer],
                                          disable=self._skipped)
        except (InvalidType, AssertionError) as error:
            # Chainer asserts that something is left of a picture after each layer.
            raise InputError(
                f'--image-size {source.image_size}: {source.network} takes pictures of another '
                'size (VGG and GoogLeNet 224, AlexNet and SqueezeNet 227)') from error
        # CaffeFunction would keep every layer's output until the next call.
        self._network.variables = {}
        return features.array.reshape(len(images), -1)


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


def _not_leading_to(blob, layers):
    """Names the layers whose outputs ``blob`` does not depend on."""
    needed, skipped = {blob}, set()
    for name, bottoms, tops in reversed(layers):
        if needed.isdisjoint(tops):
            skipped.add(name)
        else:
            needed.update(bottoms)
    return skipped
