"""Scores of captions, and how far they may be from those of other images (the bootstrap)."""

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy

from lib.errors import InputError

N_RESAMPLES = 2000
# Percent of the resamples outside the interval.
OUTSIDE = 5
# Resamples at a time, which bounds memory.
BLOCK = 100
# As in pycocoevalcap, whose scores are computed with them.
TINY = 1e-15
SMALL = 1e-9


class Difference(NamedTuple):
    """The difference of two scores on the same images.

    Attributes:
        value (float): The first minus the second.
        low, high (float): Its 95 % interval.
        p (float): Two-sided: how often resamples of the images reverse the sign, twice.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass
class Scores:
    """Scores of a caption of each image, and what they were computed from.

    Attributes:
        values (dict): The scores, from their names; those without intervals may be among them.
        bleu (array): Of each image the number of tokens of the caption and of the reference whose
            length is closest, of its n-grams for n from 1 to 4, and of those that are in a
            reference, (N, 10), float64.
        means (dict): Scores that are, about, the mean over the images: from names to (N,), float64.
        remarks (list of str): What is missing, or differs from the scores of other programs.
    """

    values: dict
    bleu: numpy.ndarray
    means: dict
    remarks: list = field(default_factory=list)

    def weighted(self, counts) -> dict[str, numpy.ndarray]:
        """Computes scores where some images count more often than others.

        Args:
            counts (array): How often each image counts, (B, N), float64.

        Returns:
            dict: From names to scores, (B,).
        """
        totals = counts @ self.bleu
        ratio = (totals[:, 0] + TINY) / (totals[:, 1] + SMALL)
        precisions = (totals[:, 6:] + TINY) / (totals[:, 2:6] + SMALL)
        brevity_penalty = numpy.exp(numpy.minimum(0, 1 - 1 / ratio))
        bleu = numpy.cumprod(precisions, axis=1) ** (1 / numpy.arange(1, 5))
        scores = {f'BLEU-{n}': bleu[:, n - 1] * brevity_penalty for n in range(1, 5)}
        n_images = counts.sum(axis=1)
        return {**scores, **{name: counts @ mean / n_images for name, mean in self.means.items()}}

    @functools.cached_property
    def resampled(self) -> dict[str, numpy.ndarray]:
        """The scores of images drawn with replacement: the bootstrap (Efron, 1979).

        From names to scores, (N_RESAMPLES,), float64; empty of a single image, which tells nothing
        about others. The draws are the same for all captions of as many images.
        """
        n_images = len(self.bleu)
        if n_images < 2:
            return {}
        rng = numpy.random.RandomState(0)
        blocks = []
        for _ in range(N_RESAMPLES // BLOCK):
            counts = rng.multinomial(n_images, numpy.full(n_images, 1 / n_images), BLOCK)
            blocks.append(self.weighted(counts.astype('float64')))
        own = self.weighted(numpy.ones((1, n_images)))
        # METEOR is not quite the mean over the images, so its resamples are shifted.
        return {
            name: numpy.concatenate([block[name] for block in blocks])
            + self.values[name]
            - own[name][0]
            for name in own
        }

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Returns the 95 % intervals of the scores, from their names; none of a single image."""
        return {name: _interval(values) for name, values in self.resampled.items()}

    def compare(self, other: 'Scores') -> dict[str, Difference]:
        """Compares these scores with those of other captions of the images (paired bootstrap).

        See Koehn, *Statistical Significance Tests for Machine Translation Evaluation*, 2004.

        Raises:
            InputError: If there is only one image.
        """
        if not self.resampled:
            raise InputError('needs more than one image', option='compare')
        differences = {}
        for name in (name for name in self.resampled if name in other.resampled):
            changes = self.resampled[name] - other.resampled[name]
            # The images themselves count as one resample, so that no probability is 0.
            share = (1 + min((changes <= 0).sum(), (changes >= 0).sum())) / (1 + len(changes))
            differences[name] = Difference(
                self.values[name] - other.values[name],
                *_interval(changes),
                min(1.0, float(2 * share)),
            )
        return differences


def _interval(values):
    low, high = numpy.percentile(values, [OUTSIDE / 2, 100 - OUTSIDE / 2])
    return float(low), float(high)
