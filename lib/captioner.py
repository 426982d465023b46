"""Captions of images, from model files and a caffemodel."""

import dataclasses
import itertools
import math
import os
import warnings

import chainer
import numpy
import tqdm
from PIL import Image

from lib.decoding.caption import Caption
from lib.decoding.constraints import fault_constraints
from lib.decoding.decode import DecodingOptions, decode
from lib.decoding.ensemble import Ensemble
from lib.decoding.neighbors import NeighborIndex
from lib.device import select_device
from lib.errors import InputError, InputWarning
from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import ExternalSource

# Images to decode at once: enough to be efficient on a CPU, and no more than have this many
# captions in their beams.
FEATURES_AT_ONCE = 64
CAPTIONS_AT_ONCE = 8192
# Images to extract features of at once: few enough to return the first captions soon.
IMAGES_AT_ONCE = 16
GPU_IMAGES_AT_ONCE = 64


class Captioner:
    """Captions images, or precomputed features, with one or several trained models.

    Args:
        ensemble (lib.decoding.ensemble.Ensemble): The models.
        extractor (lib.features.extractor.FeatureExtractor): What extracts the features of
            images; None if all images come as precomputed features.
        index (lib.decoding.neighbors.NeighborIndex): Where ``mbr_neighbors`` are chosen from, on
            the device of the models.
        index_extractor (lib.features.extractor.FeatureExtractor): What extracts the features that
            the index is searched by; None if they are those of the models.

    Raises:
        InputError: If the index does not fit the models.

    Attributes:
        ensemble (lib.decoding.ensemble.Ensemble): The models.

    Example:
        >>> from lib.captioner import Captioner
        >>> captioner = Captioner.load('best.h5', cnn='VGG_ILSVRC_19_layers.caffemodel')
        >>> captions, = captioner(['dog.jpg'], beam_width=5, top=3)
        >>> captions[0].text
        'a dog runs on the beach'
        >>> captions[0].log_prob < 0
        True
    """

    def __init__(
        self,
        ensemble: Ensemble,
        extractor: FeatureExtractor | None = None,
        index: NeighborIndex | None = None,
        index_extractor: FeatureExtractor | None = None,
    ):
        self.ensemble, self._extractor = ensemble, extractor
        self._index, self._index_extractor = index, index_extractor
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
            paths (str or list of str): Models that ``train.py`` wrote; several form an
                ensemble.
            cnn (str): The caffemodel; not needed for precomputed features.
            gpu (int): CUDA device number, -1 for the CPU.
            tf32 (bool): See :func:`lib.device.select_device`.
            index (str): An index that ``index_captions.py`` wrote, for ``mbr_neighbors``.
            extraction: ``layer``, ``image_size``, ``mean``, ``resize``, ``pool``, ``augment`` and
                ``batch_size``, see
                :meth:`lib.features.extractor.FeatureExtractor.load`. By default features are
                extracted as those that the models were trained on.

        Returns:
            Captioner: The captioner.

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
        extractor = FeatureExtractor.load(cnn, device, ensemble.feature_source, **extraction)
        _warn_of_differences(
            extractor.source, ensemble.feature_source, 'the model was trained with'
        )
        index_extractor = None
        # Nothing may be known of how the features were extracted, but that they are the models'.
        like_the_models = None, ensemble.feature_source, extractor.source
        if index is not None and index.feature_source not in like_the_models:
            index_extractor = _load_index_extractor(
                cnn, device, index, extraction.get('batch_size')
            )
        return cls(ensemble, extractor, index, index_extractor)

    def __call__(self, images, **options) -> list[list[Caption]]:
        """Captions images.

        Args:
            images (list or array): Paths or :class:`PIL.Image.Image` objects, or one of
                them; or precomputed features, (N, D), real numbers, NumPy or CuPy.
            options: See :class:`lib.decoding.decode.DecodingOptions`.

        Returns:
            list of list of Caption: For each image its captions, best first.

        Raises:
            InputError: If an option is invalid, there is no CNN, or features or images have
                another size than those the models and the CNN take.
            UnreadableImageError: If a file is not an image.
        """
        if isinstance(images, chainer.get_array_types()):
            return self.caption_features(images, DecodingOptions(**options))
        if isinstance(images, (str, os.PathLike, Image.Image)):
            images = [images]
        results = self.caption_images(images, DecodingOptions(**options))
        return [captions for _, captions in results]

    def caption_images(self, images, options: DecodingOptions, on_error=None):
        """Captions images while it reads the next ones.

        Args:
            images (list): Paths or :class:`PIL.Image.Image` objects.
            options (lib.decoding.decode.DecodingOptions): How to decode captions.
            on_error (callable): See :meth:`lib.features.extractor.FeatureExtractor.extract`.

        Returns:
            iterator of tuple: An image as it was given, and its captions, best first.

        Raises:
            InputError: If there is no CNN, its features have another size than those the
                models were trained on, or images another size than the CNN takes.
        """
        if self._extractor is None:
            raise InputError('this captioner has no CNN, so it can caption features only')
        return self._caption_images(images, options, on_error)

    def _caption_images(self, images, options, on_error):
        n_images = IMAGES_AT_ONCE if self._is_on_cpu else GPU_IMAGES_AT_ONCE
        for indices, features in self._extractor.extract(images, n_images, on_error):
            queries = None
            if self._index_extractor is not None and options.mbr_neighbors:
                chunk = [images[index] for index in indices]
                ((_, queries),) = self._index_extractor.extract(chunk, len(chunk))
            for index, captions in zip(
                indices, self._caption_extracted(features, options, queries)
            ):
                yield images[index], captions

    def prepare(self, image, max_pixels: int | None = None):
        """Prepares an image for :meth:`caption_prepared`; several threads may do so at once.

        Args:
            image (str, PIL.Image.Image or binary file): See :func:`lib.features.images.decoded`.
            max_pixels (int): As there.

        Returns:
            list of array: The inputs of the CNN for the models and, if that is another, for the
            index, (3, S, S), float32, NumPy.

        Raises:
            UnreadableImageError: If it is not an image, or too large.
        """
        extractors = filter(None, (self._extractor, self._index_extractor))
        return [extractor.prepare(image, max_pixels) for extractor in extractors]

    def caption_prepared(self, prepared, options: DecodingOptions) -> list[list[Caption]]:
        """Captions images that :meth:`prepare` has prepared, which the CNN takes together.

        Args:
            prepared (list of list of array): What it has returned for each image.
            options (lib.decoding.decode.DecodingOptions): How to decode captions.

        Returns:
            list of list of Caption: For each image its captions, best first.
        """
        pixels, *index_pixels = zip(*prepared)
        queries = None
        if index_pixels and options.mbr_neighbors:
            queries = self._index_extractor(index_pixels[0])
        return list(self._caption_extracted(self._extractor(pixels), options, queries))

    def with_models(self, numbers) -> 'Captioner':
        """Returns a captioner that uses the same CNN and some of the models.

        Args:
            numbers (sequence of int): Which, from 0.
        """
        models = [self.ensemble.models[n] for n in numbers]
        return Captioner(Ensemble(models), self._extractor, self._index, self._index_extractor)

    def _caption_extracted(self, features, options, queries):
        """Yields the captions of each image that features were extracted from.

        Args:
            features, options: As for :meth:`caption_features`.
            queries (array): What the index is searched by; None if it is the features.
        """
        source = self._extractor.source
        self.ensemble.check_feature_size(
            features.shape[1], f'{source.layer} of {source.network}', option='layer'
        )
        n_decoded = self._images_at_once(options)
        queries = features if queries is None else queries
        for start in range(0, len(features), n_decoded):
            rows = slice(start, start + n_decoded)
            yield from self._decode(features[rows], options, queries[rows])

    def caption_features(
        self, features, options: DecodingOptions, rows=None, index_features=None
    ) -> list[list[Caption]]:
        """Captions images by their features, with a progress bar on a terminal.

        Args:
            features (array): (N, D), real numbers.
            options (lib.decoding.decode.DecodingOptions): How to decode captions.
            rows (array): Which of them to caption, (n,), integers, on the device of the
                features; by default all.
            index_features (array): What the index is searched by, (N, D'); by default the
                features.

        Returns:
            list of list of Caption: For each row its captions, best first.

        Raises:
            InputError: If features have another size than those the models were trained on.
        """
        if features.ndim != 2:
            raise InputError(f'features have shape {features.shape}; expected (N, D)')
        if features.dtype.kind not in 'fiu':
            raise InputError(f'features are {features.dtype}, not real numbers')
        self.ensemble.check_feature_size(features.shape[1], 'features')
        if rows is None:
            rows = chainer.backend.get_array_module(features).arange(len(features))
        send, to_cpu = self.ensemble.device.send, chainer.get_device('@numpy').send
        n_images, captions = self._images_at_once(options), []
        with tqdm.tqdm(total=len(rows), unit='image', disable=None, leave=False) as progress:
            for start in range(0, len(rows), n_images):
                chunk = rows[start : start + n_images]
                batch = queries = send(features[chunk].astype('float32', copy=False))
                if index_features is not None:
                    queries = send(index_features[to_cpu(chunk)])  # wherever they are
                captions += self._decode(batch, options, queries)
                progress.update(len(chunk))
        return captions

    def _images_at_once(self, options):
        """Returns how many images to decode at once, so that memory suffices for wide beams."""
        n_captions = options.top if options.sample else options.beam_width
        n_images = max(1, CAPTIONS_AT_ONCE // n_captions)
        return min(n_images, FEATURES_AT_ONCE) if self._is_on_cpu else n_images

    @property
    def has_index(self) -> bool:
        """Whether captions can be ranked by those of similar images."""
        return self._index is not None

    @property
    def _is_on_cpu(self):
        return self.ensemble.device.xp is numpy

    def _decode(self, features, options, queries):
        to_text, references = self.ensemble.vocabulary.decode, None
        constraints = fault_constraints(self.ensemble, options)
        if options.mbr_neighbors:
            if self._index is None:
                raise InputError('needs an index of captions', option='mbr_neighbors')
            references = self._index.references(queries, options.mbr_neighbors)
        with numpy.errstate(over='ignore', invalid='ignore'):  # found out below
            decoded = decode(self.ensemble, features, options, references, constraints)
        for caption in itertools.chain(*decoded):
            if not math.isfinite(caption.log_prob):
                if options.min_length and options.no_repeat_ngram:
                    raise InputError(
                        f'{options.min_length}: no caption of this length repeats no '
                        f'{options.no_repeat_ngram}-gram',
                        option='min_length',
                    )
                raise InputError(
                    f'{self.ensemble.models[0].path}: a caption has log-probability '
                    f'{caption.log_prob}: the weights, or the features, are too large'
                )
        return [
            [dataclasses.replace(caption, text=to_text(caption.tokens)) for caption in captions]
            for captions in decoded
        ]


def _load_index_extractor(cnn, device, index, batch_size):
    """Returns what extracts features like those that an index was made of."""
    try:
        extractor = FeatureExtractor.load(cnn, device, index.feature_source, batch_size)
    except InputError as error:
        if error.option != 'layer':
            raise
        raise InputError(
            f'{index.path}: was made of features that {cnn} does not have: {error.message}'
        ) from error
    _warn_of_differences(extractor.source, index.feature_source, f'{index.path} was made with')
    return extractor


def _warn_of_differences(source, recorded, what):
    """Warns where features are extracted in another way than is recorded in what needs them."""
    if isinstance(recorded, ExternalSource):
        return
    for name, expected in vars(recorded or source).items():
        used = getattr(source, name)
        if used != expected:
            warnings.warn(
                f'{name.replace("_", " ")} {used} is used, but {what} {expected}',
                InputWarning,
                stacklevel=3,
            )
