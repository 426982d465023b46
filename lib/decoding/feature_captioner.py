"""Captioning images by their features."""

import dataclasses
import itertools
import math

import chainer
import numpy
import tqdm

from lib.decoding.caption import Caption
from lib.decoding.constraints import fault_constraints
from lib.decoding.decode import DecodingOptions, decode
from lib.decoding.ensemble import Ensemble
from lib.decoding.neighbors import NeighborIndex
from lib.errors import InputError

# Images to decode at once: enough to be efficient on a CPU, and no more than have this many
# captions in their beams.
FEATURES_AT_ONCE = 64
CAPTIONS_AT_ONCE = 8192


class FeatureCaptioner:
    """Captions images by their features.

    Args:
        ensemble (lib.decoding.ensemble.Ensemble): The models.
        index (lib.decoding.neighbors.NeighborIndex): Where ``mbr_neighbors`` are chosen from, on
            the device of the models.

    Raises:
        InputError: If the index does not fit the models.

    Attributes:
        ensemble (lib.decoding.ensemble.Ensemble): The models.
        index (lib.decoding.neighbors.NeighborIndex): The index, None if there is none.
    """

    def __init__(self, ensemble: Ensemble, index: NeighborIndex | None = None):
        self.ensemble, self.index = ensemble, index
        if index is not None:
            index.check_vocabulary(ensemble)

    def __call__(
        self, features, options: DecodingOptions, rows=None, index_features=None
    ) -> list[list[Caption]]:
        """Captions images by their features.

        If that takes several batches, a terminal shows their progress.

        Args:
            features (array or lib.features.table.FeatureTable): (N, D), real numbers.
            options (lib.decoding.decode.DecodingOptions): How to decode captions.
            rows (array): Which of them to caption, (n,), integers, on the device of the
                features; by default all.
            index_features (array or lib.features.table.FeatureTable): What the index is
                searched by, (N, D'); by default the features.

        Returns:
            list of list of Caption: For each row its captions, best first.

        Raises:
            InputError: If features are not a matrix of real numbers, or have another size than
                those the models or the index were trained on; if an index is needed and there is
                none, no caption meets the limits, or log-probabilities are not finite.
        """
        if len(features.shape) != 2:
            raise InputError(f'features have shape {features.shape}; expected (N, D)')
        if features.dtype.kind not in 'fiu':
            raise InputError(f'features are {features.dtype}, not real numbers')
        self.ensemble.check_feature_size(features.shape[1], 'features')
        if rows is None:
            rows = chainer.backend.get_array_module(features).arange(len(features))
        send, to_cpu = self.ensemble.device.send, chainer.get_device('@numpy').send
        n_images, captions = self._images_at_once(options), []
        disable = len(rows) <= n_images or None  # None: unless on a terminal
        with tqdm.tqdm(total=len(rows), unit='image', disable=disable, leave=False) as progress:
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
        is_on_cpu = self.ensemble.device.xp is numpy
        return min(n_images, FEATURES_AT_ONCE) if is_on_cpu else n_images

    def _decode(self, features, options, queries):
        to_text, references = self.ensemble.vocabulary.decode, None
        constraints = fault_constraints(self.ensemble, options)
        if options.mbr_neighbors:
            if self.index is None:
                raise InputError('needs an index of captions', option='mbr_neighbors')
            references = self.index.references(queries, options.mbr_neighbors)
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
                paths = ', '.join(str(model.path) for model in self.ensemble.models)
                raise InputError(
                    f'{paths}: a caption has log-probability '
                    f'{caption.log_prob}: the weights, or the features, are too large'
                )
        return [
            [dataclasses.replace(caption, text=to_text(caption.tokens)) for caption in captions]
            for captions in decoded
        ]
