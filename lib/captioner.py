"""Captions of images, from model files and a caffemodel."""

import os
import warnings

import chainer
import numpy
from PIL import Image

from lib.decoding.caption import Caption
from lib.decoding.decode import DecodingOptions
from lib.decoding.ensemble import Ensemble
from lib.decoding.feature_captioner import FeatureCaptioner
from lib.decoding.neighbors import NeighborIndex
from lib.device import select_device
from lib.errors import InputError, InputWarning
from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import ExternalSource

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
        self.ensemble, self._feature_captioner = ensemble, FeatureCaptioner(ensemble, index)
        self._extractor, self._index_extractor = extractor, index_extractor

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
            return self._feature_captioner(images, DecodingOptions(**options))
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
            image (str, PIL.Image.Image or binary file): See :func:`lib.features.images.read_image`.
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
        return self._caption_extracted(self._extractor(pixels), options, queries)

    def with_models(self, numbers) -> 'Captioner':
        """Returns a captioner that uses the same CNN and some of the models.

        Args:
            numbers (sequence of int): Which, from 0.
        """
        models = [self.ensemble.models[n] for n in numbers]
        return Captioner(
            Ensemble(models), self._extractor, self._feature_captioner.index, self._index_extractor
        )

    def _caption_extracted(self, features, options, queries):
        """Returns the captions of each image that features were extracted from.

        Args:
            features (array): (N, D), float32, on the device of the models.
            options (lib.decoding.decode.DecodingOptions): How to decode captions.
            queries (array): What the index is searched by; None if it is the features.
        """
        source = self._extractor.source
        self.ensemble.check_feature_size(
            features.shape[1], f'{source.layer} of {source.network}', option='layer'
        )
        return self._feature_captioner(features, options, index_features=queries)

    @property
    def has_index(self) -> bool:
        """Whether captions can be ranked by those of similar images."""
        return self._feature_captioner.index is not None

    @property
    def _is_on_cpu(self):
        return self.ensemble.device.xp is numpy


def _load_index_extractor(cnn, device, index, batch_size):
    """Returns what extracts features like those that an index was made of."""
    if isinstance(index.feature_source, ExternalSource):
        raise InputError(
            f'{index.path}: was made of features of another program or of several files combined, '
            'so those of new images cannot be extracted; make an index of one file that '
            'extract_features.py has written',
            option='index',
        )
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
