"""How far scores may be from those of other images: intervals, and comparisons of two programs."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy

from lib.errors import InputError

N_RESAMPLES = 2000
# Percent of the resamples outside the interval.
OUTSIDE = 5
# Resamples at a time, which bounds memory.
BLOCK = 100
# As in pycocoevalcap, whose scores are computed with them.
TINY, SMALL = 1e-15, 1e-9


@dataclass
class ImageScores:
    """What scores are computed from, image by image.

    Attributes:
        bleu (array): Of each image the number of tokens of the caption and of the reference whose
            length is closest, of its n-grams for n from 1 to 4, and of those that are in a
            reference, (N, 10), float64.
        means (dict): Scores that are, about, the mean over the images: from names to (N,).
    """

    bleu: numpy.ndarray
    means: dict[str, numpy.ndarray]

    def scores(self, counts) -> dict[str, numpy.ndarray]:
        """Computes scores where some images count more often than others.

        Args:
            counts (array): How often each image counts, (B, N).

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


def resample(scores, image_scores: ImageScores) -> dict[str, numpy.ndarray]:
    """Computes the scores of images drawn with replacement: the bootstrap (Efron, 1979).

    The draws are the same for all captions of as many images.

    Args:
        scores (dict): The scores of all images, from their names.
        image_scores (ImageScores): What they were computed from.

    Returns:
        dict: From names to scores, (N_RESAMPLES,), float64; empty if there is only one image, which
        tells nothing of others.
    """
    rng, n_images = numpy.random.RandomState(0), len(image_scores.bleu)
    if n_images == 1:
        return {}
    blocks = []
    for _ in range(N_RESAMPLES // BLOCK):
        counts = rng.multinomial(n_images, numpy.full(n_images, 1 / n_images), BLOCK)
        blocks.append(image_scores.scores(counts.astype('float64')))
    own = image_scores.scores(numpy.ones((1, n_images)))
    # METEOR is not quite the mean over the images, and so is moved to where it belongs.
    return {
        name: numpy.concatenate([block[name] for block in blocks]) + scores[name] - own[name][0]
        for name in own
    }


def bootstrap_intervals(resampled) -> dict[str, tuple[float, float]]:
    """Returns the 95 % intervals of scores.

    Args:
        resampled (dict): What :func:`resample` returned.
    """
    return {name: _interval(values) for name, values in resampled.items()}


def compare(scores, resampled, other_scores, other_resampled) -> dict[str, Difference]:
    """Compares captions of the same images by the paired bootstrap.

    See Koehn, *Statistical Significance Tests for Machine Translation Evaluation*, 2004.

    Args:
        scores, other_scores (dict): The scores, from their names.
        resampled, other_resampled (dict): What :func:`resample` returned of them.

    Raises:
        InputError: If there is only one image.
    """
    if not resampled:
        raise InputError('needs more than one image', option='compare')
    differences = {}
    for name in resampled:
        changes = resampled[name] - other_resampled[name]
        # The images themselves count as one resample, so that no probability is 0.
        share = (1 + min((changes <= 0).sum(), (changes >= 0).sum())) / (1 + len(changes))
        differences[name] = Difference(
            scores[name] - other_scores[name], *_interval(changes), min(1.0, float(2 * share))
        )
    return differences


def _interval(values):
    low, high = numpy.percentile(values, [OUTSIDE / 2, 100 - OUTSIDE / 2])
    return float(low), float(high)
