"""Image features from a Caffe network."""

import collections
import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import chainer
import numpy
from google.protobuf.message import DecodeError

from lib.errors import InputError
from lib.features.feature_source import (
    LAYER_SEPARATOR,
    ExternalSource,
    FeatureSource,
    note_differences,
)
from lib.features.images import UnreadableImageError, prepare_image, read_image
from lib.files.input import check_input
from models.caffe.caffemodel import Caffemodel, layers_leading_to
from models.caffe.validation import LayerError

# How Karpathy's features were extracted.
VGG19 = FeatureSource(
    network='VGG_ILSVRC_19_layers.caffemodel',
    layer='fc7',
    image_size=224,
    mean=[103.939, 116.779, 123.68],
    resize='warp',
)


class FeatureExtractor:
    """A caffemodel that turns images into features.

    Args:
        path (str): The ``.caffemodel``, in Caffe's old (V1) or new format.
        source (lib.features.feature_source.FeatureSource): Layer and preparation of the images.
        device (chainer.backend.Device): Where to compute.
        batch_size (int): Images that go through the convolutions at once; by default 4 on a
            CPU and 32 on a GPU. Fully connected layers process all images at once, since
            reading their weights takes longer than multiplying by them.

    Attributes:
        source (lib.features.feature_source.FeatureSource): Layer and preparation of the images.

    Raises:
        InputError: If the file is not a caffemodel or does not have the layer.
    """

    def __init__(self, path, source, device, batch_size=None):
        self.source = source
        self._path = path
        self._device = device
        self._batch_size = batch_size or (4 if device.xp is numpy else 32)
        self._network = _load_network(path)
        self._network.to_device(device)
        blobs = dict.fromkeys(blob for _, _, tops in self._network.layers for blob in tops)
        # The name of a single layer may contain the separator, too.
        is_single = source.layer in blobs
        self._outputs = [source.layer] if is_single else source.layer.split(LAYER_SEPARATOR)
        for layer in self._outputs:
            if layer not in blobs:
                names = ', '.join(blobs) or 'none'
                raise InputError(f'{layer}: {path} has no such layer, only {names}', option='layer')
        layers = layers_leading_to(self._outputs, self._network.layers)
        for name, _, _ in layers:
            if name in self._network.unsupported:
                raise InputError(f'{path}: layer {name!r} {self._network.unsupported[name]}')
        self._input = self._find_input(layers)
        # Those that compute a batch of images at a time, and those that compute all at once.
        self._batch_layers = layers
        self._chunk_layers = []
        if len(self._outputs) == 1:
            self._batch_layers, self._chunk_layers = _split_before_linear(self._network, layers)

    def _find_input(self, layers):
        """Returns the blob that the layers take but do not compute, which holds the images."""
        inputs = set()
        computed = set()
        for _, bottoms, tops in layers:
            inputs.update(blob for blob in bottoms if blob not in computed)
            computed.update(tops)
        if len(inputs) != 1:
            names = ', '.join(map(repr, sorted(inputs))) or 'no blob'
            raise InputError(
                f'{self._path}: layer {self.source.layer!r} is computed from {names}, not from '
                'images alone'
            )
        return inputs.pop()

    @classmethod
    def load(
        cls,
        path,
        device,
        trained_on=None,
        batch_size=None,
        recorded_by='the model was trained with',
        **preparation,
    ):
        """Loads a caffemodel to extract features like those that a model was trained on.

        Args:
            path, device, batch_size: As for the constructor.
            trained_on (FeatureSource or ExternalSource): How the model's features were extracted;
                if unknown, Karpathy's are assumed.
            recorded_by (str): The subject and verb of a warning of differences from ``trained_on``.
            preparation: ``layer``, ``image_size``, ``mean``, ``resize``, ``pool`` and ``augment``
                replace those of ``trained_on`` unless they are None.

        Returns:
            FeatureExtractor: The extractor.

        Raises:
            InputError: If the file is not a caffemodel or does not have the layer; or if another
                program has extracted the model's features, and no layer is given.
        """
        given = {name: value for name, value in preparation.items() if value is not None}
        if isinstance(given.get('layer'), (list, tuple)):
            given['layer'] = LAYER_SEPARATOR.join(given['layer'])
        if isinstance(trained_on, ExternalSource):
            if 'layer' not in given:
                raise InputError(
                    f'is needed: the features that the model was trained on, from '
                    f'{", ".join(trained_on.files)}, come from another program or several files, '
                    f'and {path} may compute different ones; docs/features.md shows how to caption '
                    'features',
                    option='layer',
                )
            trained_on = None
        source = dataclasses.replace(trained_on or VGG19, network=os.path.basename(path), **given)
        try:
            extractor = cls(path, source, device, batch_size)
        except InputError as error:
            if error.option == 'layer' and trained_on is None and 'layer' not in given:
                error.message += '; VGG19 was assumed, since no other layer is recorded or given'
            raise
        if trained_on is not None:
            note_differences(source, trained_on, recorded_by, stacklevel=3)
        return extractor

    def extract(self, images, chunk_size, on_error=None):
        """Reads images and extracts their features.

        Threads read and prepare a chunk of images ahead of the one being computed.

        Args:
            images (list): Paths or :class:`PIL.Image.Image` objects.
            chunk_size (int): Images to yield at a time.
            on_error (callable): Called with the
                :class:`lib.features.images.UnreadableImageError` of each image that is left
                out; by default the error is raised.

        Yields:
            tuple: Indices of the images of a chunk that could be read, and their features,
            (n, D), float32, on the extractor's device.

        Raises:
            InputError: If the network does not take images of this size.
        """
        for chunk in self._prepare_ahead(images, chunk_size):
            indices = []
            pixels = []
            for index, future in chunk:
                try:
                    pixels.append(future.result())
                    indices.append(index)
                except UnreadableImageError as error:
                    if on_error is None:
                        raise
                    on_error(error)
            if indices:
                yield indices, self(pixels)

    def _prepare_ahead(self, images, chunk_size):
        """Yields lists of indices and futures, while the next list is being worked on."""
        with ThreadPoolExecutor() as pool:
            try:
                chunks = collections.deque()
                for start in range(0, len(images), chunk_size):
                    indices = range(start, min(start + chunk_size, len(images)))
                    chunks.append([(i, pool.submit(self.prepare, images[i])) for i in indices])
                    if len(chunks) > 1:
                        yield chunks.popleft()
                yield from chunks
            finally:
                pool.shutdown(cancel_futures=True)

    def prepare(self, image, max_pixels=None):
        """Decodes an image and converts it to the input of the network.

        Args:
            image (str, PIL.Image.Image or binary file): See :func:`lib.features.images.read_image`.
            max_pixels (int): As there.

        Returns:
            array: (3, S, S), float32, NumPy.

        Raises:
            UnreadableImageError: If it is not an image, or too large.
        """
        source = self.source
        rgb = read_image(image, source.image_size, max_pixels)
        return prepare_image(rgb, source.image_size, source.mean, source.resize)

    def __call__(self, pixels):
        """Computes the features of prepared images.

        Args:
            pixels (sequence of array): Images from :meth:`prepare`, (3, S, S), float32.

        Returns:
            array: One row per image, (n, D), float32, on the extractor's device. A layer
            with height and width is flattened, unless it is pooled.

        Raises:
            InputError: If the network does not take images of this size, or computes no finite
                features.
        """
        try:
            features = self._compute(pixels)
            if self.source.augment == 'flip':
                features = (features + self._compute([image[:, :, ::-1] for image in pixels])) / 2
        except LayerError as error:
            raise InputError(
                f'{self.source.image_size}: {self.source.network} takes images of another '
                f'size (VGG and GoogLeNet 224, AlexNet and SqueezeNet 227), or is damaged: {error}',
                option='image_size',
            ) from error
        if not self._device.xp.isfinite(features).all():
            raise InputError(f'{self._path}: the features are NaN or infinite')
        return features

    def _compute(self, pixels):
        """Returns the features of prepared images, (n, D)."""
        xp = self._device.xp
        middle = self._outputs
        if self._chunk_layers:
            _, middle, _ = self._chunk_layers[0]
        batches = []
        for start in range(0, len(pixels), self._batch_size):
            batch = numpy.stack(pixels[start : start + self._batch_size])
            batches.append(self._run(self._batch_layers, {self._input: batch}, middle))
        blobs = [xp.concatenate(arrays) for arrays in zip(*batches)]
        if self._chunk_layers:
            blobs = self._run(self._chunk_layers, dict(zip(middle, blobs)), self._outputs)
        return xp.concatenate([self._to_rows(blob, len(pixels)) for blob in blobs], axis=1)

    def _run(self, layers, inputs, outputs):
        """Computes blobs from others with some of the layers only.

        Args:
            layers (list of tuple): The layers.
            inputs (dict): Arrays by the names of their blobs.
            outputs (list of str): Names of blobs.

        Returns:
            list of array: The blobs.
        """
        inputs = {blob: chainer.Variable(self._device.send(inputs[blob])) for blob in inputs}
        names = {name for name, _, _ in layers}
        disable = [name for name, _, _ in self._network.layers if name not in names]
        with (
            chainer.using_config('train', False),
            chainer.no_backprop_mode(),
            numpy.errstate(all='ignore'),  # features that are not finite are rejected
        ):
            variables = self._network(inputs=inputs, outputs=outputs, disable=disable)
        return [variable.array for variable in variables]

    def _to_rows(self, blob, n_images):
        if len(blob) != n_images:
            raise InputError(f'{self._path}: layer {self.source.layer!r} mixes images')
        if blob.ndim == 4 and self.source.pool == 'average':
            blob = blob.mean(axis=(2, 3))
        elif blob.ndim == 4 and self.source.pool == 'max':
            blob = blob.max(axis=(2, 3))
        return blob.reshape(n_images, -1)


def _load_network(path):
    try:
        check_input(path)
        network = Caffemodel(path)
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: not a caffemodel, or cut short') from error
    if not network.layers:
        raise InputError(f'{path}: not a caffemodel with layers')
    return network


def _split_before_linear(network, layers):
    """Splits layers before the first fully connected one.

    Returns:
        tuple of lists: The layers before it, and the others. The second list is empty if no
        layer is fully connected, or if later layers also need other blobs.
    """
    for position, (name, bottoms, _) in enumerate(layers):
        if isinstance(getattr(network, name, None), chainer.links.Linear):
            later = layers[position:]
            computed = {blob for _, _, tops in later for blob in tops}
            needed = {blob for _, blobs, _ in later for blob in blobs}
            if needed - computed == set(bottoms):
                return layers[:position], later
            break
    return layers, []
