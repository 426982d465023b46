"""Image features from a Caffe network."""

import collections
import dataclasses
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import chainer
import numpy
from google.protobuf.message import DecodeError

from lib.errors import InputError, InputWarning
from lib.features.feature_source import LAYER_SEPARATOR, ExternalSource, FeatureSource
from lib.features.images import UnreadableImageError, decoded, prepare_image
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
        self.source, self._path, self._device = source, path, device
        self._batch_size = batch_size or (4 if device.xp is numpy else 32)
        self._network = _load_network(path)
        self._network.to_device(device)
        layers = self._network.layers
        blobs = [blob for _, _, tops in layers for blob in tops]
        self._outputs = [source.layer]
        if source.layer not in blobs:
            self._outputs = source.layer.split(LAYER_SEPARATOR)
        for layer in self._outputs:
            if layer not in blobs:
                raise InputError(
                    f'{layer}: {path} has no such layer, only '
                    f'{", ".join(dict.fromkeys(blobs)) or "none"}',
                    option='layer',
                )
        needed = layers_leading_to(self._outputs, layers)
        _check_supported(path, self._network, needed)
        self._input = _input_of(path, source.layer, needed, layers)
        before, after = needed, []
        self._bottleneck = self._outputs
        if len(self._outputs) == 1:
            before, after = _split_before_fully_connected(self._network, needed)
        if after:
            _, self._bottleneck, _ = after[0]
        self._names = {name for name, _, _ in layers}
        self._skipped_before = self._names - {name for name, _, _ in before}
        self._skipped_after = self._names - {name for name, _, _ in after}

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
        if 'mean' in given:
            given['mean'] = [float(value) for value in given['mean']]
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
            _warn_of_differences(source, trained_on, recorded_by)
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
            indices, pixels = [], []
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
            image (str, PIL.Image.Image or binary file): See :func:`lib.features.images.decoded`.
            max_pixels (int): As there.

        Returns:
            array: (3, S, S), float32, NumPy.

        Raises:
            UnreadableImageError: If it is not an image, or too large.
        """
        source = self.source
        with decoded(image, source.image_size, max_pixels) as rgb:
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
        batches = (
            numpy.stack(pixels[start : start + self._batch_size])
            for start in range(0, len(pixels), self._batch_size)
        )
        # For each blob, the arrays of all batches.
        blobs = zip(
            *(
                self._run(self._input, batch, self._bottleneck, self._skipped_before)
                for batch in batches
            )
        )
        blobs = [self._device.xp.concatenate(arrays) for arrays in blobs]
        if len(blobs) == 1:
            blobs = self._run(self._bottleneck[0], blobs[0], self._outputs, self._skipped_after)
        return self._device.xp.concatenate(
            [self._to_rows(blob, len(pixels)) for blob in blobs], axis=1
        )

    def _to_rows(self, blob, n_images):
        if len(blob) != n_images:
            raise InputError(f'{self._path}: layer {self.source.layer!r} mixes images')
        if blob.ndim == 4 and self.source.pool != 'none':
            blob = (
                blob.mean(axis=(2, 3)) if self.source.pool == 'average' else blob.max(axis=(2, 3))
            )
        return blob.reshape(n_images, -1)

    def _run(self, from_blob, array, to_blobs, skipped):
        array = self._device.send(array)
        if skipped == self._names:
            return [array]  # the network begins with a fully connected layer, or has none
        with (
            chainer.using_config('train', False),
            chainer.no_backprop_mode(),
            numpy.errstate(all='ignore'),  # features that are not finite are rejected
        ):
            outputs = self._network(inputs={from_blob: array}, outputs=to_blobs, disable=skipped)
        return [output.array for output in outputs]


def _warn_of_differences(source, recorded, recorded_by):
    for name, expected in vars(recorded).items():
        used = getattr(source, name)
        if used != expected:
            warnings.warn(
                f'{name.replace("_", " ")} {used} is used, but {recorded_by} {expected}',
                InputWarning,
                stacklevel=4,
            )


def _load_network(path):
    try:
        check_input(path)
        network = Caffemodel(path)
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    except DecodeError as error:
        raise InputError(f'{path}: not a caffemodel, or cut short') from error
    except LayerError as error:
        raise InputError(f'{path}: {error}') from error
    if not network.layers:
        raise InputError(f'{path}: not a caffemodel with layers')
    return network


def _check_supported(path, network, layers):
    for name, _, _ in layers:
        if name in network.unsupported:
            raise InputError(f'{path}: layer {name!r} {network.unsupported[name]}')


def _input_of(path, layer, needed, layers):
    """Returns the blob that the needed layers take but do not compute, which holds the images."""
    inputs, computed = set(), set()
    for _, bottoms, tops in needed:
        inputs.update(blob for blob in bottoms if blob not in computed)
        computed.update(tops)
    if len(inputs) != 1:
        names = ', '.join(map(repr, sorted(inputs))) or 'no blob'
        raise InputError(f'{path}: layer {layer!r} is computed from {names}, not from images alone')
    (blob,) = inputs
    if any(blob in tops and blob not in bottoms for _, bottoms, tops in layers):
        raise InputError(f'{path}: {blob!r} is used before the layer that computes it')
    return blob


def _split_before_fully_connected(network, layers):
    """Splits layers before the first fully connected one.

    Returns:
        tuple of lists: The layers before it, and the others. The second list is empty if no
        layer is fully connected, or if later layers also need other blobs.
    """
    for position, (name, bottoms, _) in enumerate(layers):
        if isinstance(getattr(network, name, None), chainer.links.Linear):
            before, after = layers[:position], layers[position:]
            computed = {blob for _, _, tops in after for blob in tops}
            taken = {blob for _, blobs, _ in after for blob in blobs}
            if taken - computed == set(bottoms):
                return before, after
            break
    return layers, []
