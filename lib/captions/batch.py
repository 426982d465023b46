"""Batches of captions, packed without padding."""

import itertools
from typing import NamedTuple

import numpy

from lib.captions.vocabulary import BOS, EOS


class Batch(NamedTuple):
    """Captions of images, packed time-major.

    Attributes:
        features (array): Features of the image of each caption, longest caption first, (B, D).
        inputs (array): ``<S>`` and the tokens of the captions, (R,), int32.
        targets (array): The tokens and ``</S>``, (R,), int32.
        captions_per_step (list of int): Captions that have each time step; sums to R.
        divisor (float): What the sum of the losses of the targets is divided by.
        images (array): The image of each caption, (B,), NumPy, or None.
    """

    features: object
    inputs: object
    targets: object
    captions_per_step: list
    divisor: float
    images: object = None


def pack(tokens, offsets, indices):
    """Packs captions time-major, longest first.

    Args:
        tokens (array): Those of all captions, one after the other, int32.
        offsets (array): Caption ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``.
        indices (array): Which captions, (B,), integers.

    Returns:
        tuple: ``order``, the captions in the order they were packed, (B,); and ``inputs``,
        ``targets`` and ``captions_per_step`` of :class:`Batch`, NumPy.
    """
    lengths = offsets[indices + 1] - offsets[indices]
    longest_first = numpy.argsort(-lengths, kind='stable')
    order, lengths = indices[longest_first], lengths[longest_first]

    step = numpy.arange(lengths[0] + 1)[:, None]
    is_running = step <= lengths
    is_token = step < lengths
    targets = numpy.full(is_running.shape, EOS, 'int32')
    targets[is_token] = tokens[(offsets[order] + step)[is_token]]
    inputs = numpy.full(is_running.shape, BOS, 'int32')
    inputs[1:] = targets[:-1]
    return order, inputs[is_running], targets[is_running], is_running.sum(axis=1).tolist()


def flatten(captions):
    """Joins captions that are lists of tokens; returns ``tokens`` and ``offsets``."""
    offsets = numpy.cumsum([0, *map(len, captions)])
    return numpy.fromiter(itertools.chain(*captions), 'int32', offsets[-1]), offsets
