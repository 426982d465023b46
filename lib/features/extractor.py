"""Image features from a CNN."""

import collections
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy

from lib.errors import InputError, InputWarning
from lib.features.cnn import CNN
from lib.features.feature_source import (
    LAYER_SEPARATOR,
    PREPARATIONS,
    ExternalSource,
    FeatureSource,
    note_differences,
)
from lib.features.images import UnreadableImageError, prepare_image, read_image

# Images that a CNN takes at a time: enough for a CPU; of VGG19 on a GPU they take 3 GB.
BATCH_SIZE = 8
GPU_BATCH_SIZE = 16


class FeatureExtractor:
    """A CNN that turns images into features.

    Args:
        cnn (lib.features.cnn.CNN): The network.
        source (lib.features.feature_source.FeatureSource): Layer and preparation of the images.
        device (chainer.backend.Device): Where the features are wanted.
        batch_size (int): Images that the network takes at once.

    Attributes:
        source (lib.features.feature_source.FeatureSource): Layer and preparation of the images.
    """

    def __init__(self, cnn, source, device, batch_size=None):
        self.source = source
        self._cnn = cnn
        self._device = device
        self._batch_size = batch_size or (BATCH_SIZE if device.xp is numpy else GPU_BATCH_SIZE)

    @classmethod
    def load(
        cls,
        path,
        device,
        trained_on=None,
        batch_size=None,
        recorded_by='the model was trained with',
        preparation=None,
        **given,
    ):
        """Loads a CNN to extract features like those that a model was trained on.

        Args:
            path (str): An ONNX model, or a caffemodel in Caffe's old (V1) or new format.
            device (chainer.backend.Device): Where to compute, and where features are wanted.
            trained_on (FeatureSource or ExternalSource): How the model's features were extracted.
            batch_size (int): Images that the network takes at once.
            recorded_by (str): The subject and verb of a warning of differences from ``trained_on``.
            preparation (str): A key of :data:`lib.features.feature_source.PREPARATIONS`.
            given: Fields of :class:`lib.features.feature_source.FeatureSource`, which replace those
                of ``preparation`` and ``trained_on`` unless they are None. ``layer`` may be a list.

        Returns:
            FeatureExtractor: The extractor.

        Raises:
            InputError: If the file is not a network or does not have the layer; or if another
                program has extracted the model's features, and no layer is given.
        """
        given = {name: value for name, value in given.items() if value is not None}
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
        if preparation is not None:
            given = {**PREPARATIONS[preparation], **given}
        defaults = vars(trained_on) if trained_on is not None else _default_fields(path, given)
        fields = {**defaults, **given, 'network': os.path.basename(path)}
        try:
            cnn = CNN(path, fields.get('layer'), fields.get('image_size'), device)
        except InputError as error:
            if error.option == 'layer' and trained_on is not None and 'layer' not in given:
                error.message += f'; {recorded_by} {trained_on.network}'
            raise
        fields |= {'layer': LAYER_SEPARATOR.join(cnn.layers), 'image_size': cnn.image_size}
        source = FeatureSource(**fields)
        if trained_on is not None:
            note_differences(source, trained_on, recorded_by, stacklevel=3)
        return cls(cnn, source, device, batch_size)

    def extract(self, images, chunk_size, on_error=None):
        """Reads images and extracts their features.

        Threads read and prepare a chunk of images ahead of the one being computed.

        Args:
            images (list): Paths, binary files or :class:`PIL.Image.Image` objects.
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
                    chunks.append([(i, pool.submit(self._prepare, images[i])) for i in indices])
                    if len(chunks) > 1:
                        yield chunks.popleft()
                yield from chunks
            finally:
                pool.shutdown(cancel_futures=True)

    def _prepare(self, image):
        """Decodes an image and converts it to the input of the network.

        Args:
            image (str, PIL.Image.Image or binary file): See :func:`lib.features.images.read_image`.

        Returns:
            array: (3, S, S), float32, NumPy.

        Raises:
            UnreadableImageError: If it is not an image, or too large.
        """
        source = self.source
        return prepare_image(
            read_image(image, source.image_size),
            source.image_size,
            source.mean,
            source.resize,
            source.channels,
            source.std,
            source.interpolation,
        )

    def __call__(self, pixels):
        """Computes the features of prepared images.

        Args:
            pixels (sequence of array): What :meth:`_prepare` returns, (3, S, S), float32.

        Returns:
            array: One row per image, (n, D), float32, on the extractor's device. A tensor
            with height and width is flattened, unless it is pooled.

        Raises:
            InputError: If the network does not take images of this size, or computes no finite
                features.
        """
        features = self._compute(pixels)
        if self.source.augment == 'flip':
            features = (features + self._compute([image[:, :, ::-1] for image in pixels])) / 2
        if not self._device.xp.isfinite(features).all():
            raise InputError(f'{self.source.network}: the features are NaN or infinite')
        return features

    def compute_size(self) -> int:
        """Returns the size of the features, by those of an image of the mean color."""
        size = self.source.image_size
        return self._compute([numpy.zeros((3, size, size), 'float32')]).shape[1]

    def _compute(self, pixels):
        """Returns the features of prepared images, (n, D)."""
        rows = []
        for start in range(0, len(pixels), self._batch_size):
            batch = numpy.stack(pixels[start : start + self._batch_size])
            tensors = [self._device.send(tensor) for tensor in self._cnn(batch)]
            parts = [self._to_rows(tensor, len(batch)) for tensor in tensors]
            rows.append(self._device.xp.concatenate(parts, axis=1))
        return self._device.xp.concatenate(rows)

    def _to_rows(self, tensor, n_images):
        """Returns a tensor of n images as (n, D), float32."""
        if len(tensor) != n_images:
            raise InputError(f'{self.source.layer}: mixes images', option='layer')
        pool = self.source.pool
        if pool == 'first' and tensor.ndim != 3:
            raise InputError(f'first: {self.source.layer} does not have tokens', option='pool')
        if pool == 'first':
            tensor = tensor[:, 0]
        axes = {3: (1,), 4: (1, 2) if self._cnn.has_channels_last else (2, 3)}.get(tensor.ndim)
        if axes and pool == 'average':
            tensor = tensor.mean(axis=axes)
        elif axes and pool == 'max':
            tensor = tensor.max(axis=axes)
        return tensor.reshape(n_images, -1).astype('float32', copy=False)


def _default_fields(path, given):
    """Returns how images are prepared unless a model or a flag says otherwise."""
    preparation = 'imagenet' if os.fspath(path).lower().endswith('.onnx') else 'caffe'
    if 'mean' not in given and (preparation == 'imagenet' or 'layer' in given):
        note = (
            f'{path}: images are prepared as for {preparation}, since neither a preparation nor a '
            'mean is given'
        )
        warnings.warn(note, InputWarning, stacklevel=4)
    return {'resize': 'warp', **PREPARATIONS[preparation]}
