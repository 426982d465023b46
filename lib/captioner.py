"""Captions of images, from model files and a CNN."""

import dataclasses
import itertools
import math
import os
import warnings

import chainer
import numpy
import tqdm

from lib.decoding.caption import Caption
from lib.decoding.decode import decode
from lib.decoding.ensemble import Ensemble
from lib.decoding.neighbors import NeighborIndex
from lib.decoding.options import DecodingOptions
from lib.device import select_device
from lib.errors import InputError, InputWarning
from lib.features.feature_source import ExternalSource

# Images to extract features of at once: few enough to return the first captions soon.
IMAGES_AT_ONCE = 16
GPU_IMAGES_AT_ONCE = 64
# Features to decode at once: enough to be efficient on a CPU, and no more than have this many
# captions in their beams.
FEATURES_AT_ONCE = 64
CAPTIONS_AT_ONCE = 8192


class Captioner:
    """Captions images, or precomputed features, with one or several trained models.

    Args:
        ensemble (lib.decoding.ensemble.Ensemble): The models.
        extractor (lib.features.extractor.FeatureExtractor): What extracts the features of
            images; None if all images come as precomputed features.
        index (lib.decoding.neighbors.NeighborIndex): Captions of similar images, by which those of
            a beam are ranked unless ``mbr_neighbors`` is 0; on the device of the models.
        index_extractor (lib.features.extractor.FeatureExtractor): What extracts the features that
            the index is searched by; None if they are those of the models.

    Raises:
        InputError: If the index does not fit the models.

    Attributes:
        ensemble (lib.decoding.ensemble.Ensemble): The models.
        has_index (bool): Whether there is an index.

    Example:
        >>> from lib.captioner import Captioner
        >>> captioner = Captioner.load('best.h5', cnn='VGG_ILSVRC_19_layers.caffemodel')
        >>> captions, = captioner(['dog.jpg'], beam_width=5, top=3)
        >>> captions[0].text
        'a dog runs on the beach'
        >>> captions[0].log_prob < 0
        True
    """

    def __init__(self, ensemble: Ensemble, extractor=None, index=None, index_extractor=None):
        self.ensemble = ensemble
        self.has_index = index is not None
        self._extractor = extractor
        self._index = index
        self._index_extractor = index_extractor
        if index is not None:
            index.check_vocabulary(ensemble)

    @classmethod
    def load(
        cls,
        paths,
        cnn: str | None = None,
        gpu: int = -1,
        tf32: bool = False,
        index: str | None = None,
        **extraction,
    ) -> 'Captioner':
        """Loads trained models and the network that extracts their features.

        Args:
            paths (str or list of str): Models that ``train.py`` wrote; several form an ensemble.
            cnn (str): An ONNX model or a caffemodel; not needed for precomputed features.
            gpu (int): CUDA device number, -1 for the CPU.
            tf32 (bool): See :func:`lib.device.select_device`.
            index (str): An index that ``index_captions.py`` wrote.
            extraction: See :meth:`lib.features.extractor.FeatureExtractor.load`. By default
                features are extracted as those that the models were trained on.

        Raises:
            InputError: If a file cannot be used, or the files do not belong together.
        """
        device = select_device(gpu, tf32)
        if isinstance(paths, (str, os.PathLike)):
            paths = [paths]
        ensemble = Ensemble.load(paths, device)
        if index is not None:
            index = NeighborIndex.load(index, device)
        if cnn is None:
            return cls(ensemble, index=index)
        # Imported here, since it takes time, and whoever captions features does not need it.
        from lib.features.extractor import FeatureExtractor

        extractor = FeatureExtractor.load(cnn, device, ensemble.feature_source, **extraction)
        index_extractor = None
        # If unknown, the features of the index are those of the models.
        models_features = None, ensemble.feature_source, extractor.source
        if index is not None and index.feature_source not in models_features:
            batch_size = extraction.get('batch_size')
            index_extractor = _load_index_extractor(cnn, device, index, batch_size)
        return cls(ensemble, extractor, index, index_extractor)

    def __call__(self, images, **options) -> list[list[Caption]]:
        """Captions images.

        Args:
            images (list or array): Paths or :class:`PIL.Image.Image` objects, or one of
                them; or precomputed features, (N, D), real numbers, NumPy or CuPy.
            options: See :meth:`lib.decoding.options.DecodingOptions.with_defaults`.

        Returns:
            list of list of Caption: For each image its captions, best first.

        Raises:
            InputError: If an option is invalid, there is no CNN, or features or images have
                another size than those the models and the CNN take.
            UnreadableImageError: If a file is not an image.
        """
        options = DecodingOptions.with_defaults(self.has_index, **options)
        if isinstance(images, chainer.get_array_types()):
            if images.ndim != 2:
                raise InputError(f'features have shape {images.shape}; expected (N, D)')
            if images.dtype.kind not in 'fiu':
                raise InputError(f'features are {images.dtype}, not real numbers')
            return self.caption_features(images, options)
        if not isinstance(images, (list, tuple)):
            images = [images]
        return [captions for _, captions in self.caption_images(images, options)]

    def caption_images(self, images, options: DecodingOptions, on_error=None):
        """Captions images while it reads the next ones.

        Args:
            images (list): Paths, binary files or :class:`PIL.Image.Image` objects.
            options (lib.decoding.options.DecodingOptions): How to decode captions.
            on_error (callable): See :meth:`lib.features.extractor.FeatureExtractor.extract`.

        Yields:
            tuple: An image as it was given, and its captions, best first.

        Raises:
            InputError: If there is no CNN, its features have another size than those the
                models were trained on, or images another size than the CNN takes.
        """
        if self._extractor is None:
            raise InputError('this captioner has no CNN, so it can caption features only')
        n_images = IMAGES_AT_ONCE if self.ensemble.device.xp is numpy else GPU_IMAGES_AT_ONCE
        for indices, features in self._extractor.extract(images, n_images, on_error):
            chunk = [images[index] for index in indices]
            index_features = None
            if self._index_extractor is not None and options.mbr_neighbors:
                ((_, index_features),) = self._index_extractor.extract(chunk, len(chunk))
            source = self._extractor.source
            self.ensemble.models[0].check_feature_size(
                features.shape[1], f'{source.layer} of {source.network}', option='layer'
            )
            captions = self.caption_features(features, options, index_features=index_features)
            yield from zip(chunk, captions)

    def caption_features(
        self, features, options: DecodingOptions, rows=None, index_features=None
    ) -> list[list[Caption]]:
        """Captions images by their features.

        Args:
            features (array or lib.features.table.FeatureTable): (N, D), real numbers.
            options (lib.decoding.options.DecodingOptions): How to decode captions.
            rows (array): The images to caption, (n,), integers, NumPy; by default all.
            index_features (array or lib.features.table.FeatureTable): What the index is searched
                by, (N, D'); by default the features.

        Returns:
            list of list of Caption: For each row its captions, best first.

        Raises:
            InputError: If features have another size than those the models or the index were
                trained on, the index is missing, or log-probabilities are not finite.
        """
        self.ensemble.models[0].check_feature_size(features.shape[1], 'features')
        rows = numpy.arange(len(features)) if rows is None else rows
        n_images = self._images_at_once(options)
        chunks = [rows[start : start + n_images] for start in range(0, len(rows), n_images)]
        disable = len(chunks) < 2 or None  # None: unless on a terminal
        captions = []
        for chunk in tqdm.tqdm(chunks, disable=disable, leave=False, unit_scale=n_images):
            batch = queries = self._gather(features, chunk)
            if index_features is not None:
                queries = self._gather(index_features, chunk)
            captions += self._decode(batch, options, queries)
        return captions

    def _gather(self, features, rows):
        """Returns rows of features, float32, on the device of the models."""
        if isinstance(features, chainer.get_array_types()):
            rows = chainer.backend.get_device_from_array(features).send(rows)
        return self.ensemble.device.send(features[rows].astype('float32', copy=False))

    def _images_at_once(self, options):
        """Returns how many images to decode at once, so that memory suffices for wide beams."""
        n_captions = options.beam_width if options.has_beam else options.top
        n_images = max(1, CAPTIONS_AT_ONCE // n_captions)
        return min(n_images, FEATURES_AT_ONCE) if self.ensemble.device.xp is numpy else n_images

    def _decode(self, features, options, queries):
        references = None
        if options.mbr_neighbors:
            if self._index is None:
                raise InputError('needs an index of captions', option='mbr_neighbors')
            references = self._index.references(queries, options.mbr_neighbors)
        with numpy.errstate(over='ignore', invalid='ignore'):  # found out below
            decoded = decode(self.ensemble, features, options, references)
        for caption in itertools.chain(*decoded):
            if not math.isfinite(caption.log_prob):
                paths = ', '.join(str(model.path) for model in self.ensemble.models)
                raise InputError(
                    f'{paths}: a caption has log-probability {caption.log_prob}: the weights or '
                    'the features are too large, or no caption meets the limits'
                )
        if all(len(best.tokens) == options.max_length for best, *_ in decoded):
            note = (
                f'the captions of all of {len(decoded)} images reach the maximum length of '
                f'{options.max_length} tokens'
            )
            warnings.warn(note, InputWarning, stacklevel=2)
        to_text = self.ensemble.vocabulary.decode
        return [
            [dataclasses.replace(caption, text=to_text(caption.tokens)) for caption in captions]
            for captions in decoded
        ]


def _load_index_extractor(cnn, device, index, batch_size):
    """Returns what extracts features like those that an index was made of."""
    if isinstance(index.feature_source, ExternalSource):
        raise InputError(
            f'{index.path}: was made of features of another program or of several files combined, '
            'so those of new images cannot be extracted; make an index of one file that '
            'extract_features.py has written',
            option='index',
        )
    from lib.features.extractor import FeatureExtractor

    try:
        return FeatureExtractor.load(
            cnn, device, index.feature_source, batch_size, f'{index.path} was made with'
        )
    except InputError as error:
        if error.option != 'layer':
            raise
        raise InputError(
            f'{index.path}: was made of features that {cnn} does not have: {error.message}'
        ) from error
