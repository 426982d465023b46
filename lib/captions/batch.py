"""Batches of captions, packed without padding."""

import itertools
from typing import NamedTuple

import chainer
import numpy

from lib.captions.vocabulary import BOS, EOS
from lib.processes import Processes


class Batch(NamedTuple):
    """Some captions and the features of their images, as networks take them.

    The captions are sorted by length, longest first, and their tokens are stored time-major: all
    first steps, then all second steps, and so on.

    Attributes:
        features (array): Of each caption's image, (B, D), float32.
        inputs (array): ``<S>`` and the captions' tokens, (R,), int32.
        targets (array): The captions' tokens and ``</S>``, (R,), int32.
        captions_per_step (list of int): The number of captions that have each time step, which
            sums to R.
        divisor (float): What the sum of the targets' losses is divided by: R, or B for the mean
            over captions.
        images (array): The image of each caption in the data set, (B,), integers, NumPy; None if
            unknown.
    """

    features: numpy.ndarray
    inputs: numpy.ndarray
    targets: numpy.ndarray
    captions_per_step: list[int]
    divisor: float = 1
    images: numpy.ndarray | None = None


def flatten(captions) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Joins captions that are lists of tokens.

    Returns:
        tuple of arrays: The tokens of all captions, one after the other, int32; and where each
        caption begins, and the last one ends, (n + 1,), int64.
    """
    offsets = numpy.cumsum([0, *map(len, captions)])
    return numpy.fromiter(itertools.chain(*captions), 'int32', offsets[-1]), offsets


def pack(tokens, offsets, captions):
    """Packs captions as a :class:`Batch` has them.

    Args:
        tokens, offsets (array): Many captions, see :func:`flatten`.
        captions (array): Which of them to pack, (B,), integers.

    Returns:
        tuple: The captions in the order they were packed, (B,); and ``inputs``, ``targets`` and
        ``captions_per_step`` of a :class:`Batch`, NumPy.
    """
    lengths = offsets[captions + 1] - offsets[captions]
    longest_first = numpy.argsort(-lengths, kind='stable')
    order = captions[longest_first]
    lengths = lengths[longest_first]

    step = numpy.arange(lengths[0] + 1)[:, None]
    is_running = step <= lengths
    is_token = step < lengths
    targets = numpy.full(is_running.shape, EOS, 'int32')
    targets[is_token] = tokens[(offsets[order] + step)[is_token]]
    inputs = numpy.full(is_running.shape, BOS, 'int32')
    inputs[1:] = targets[:-1]
    return order, inputs[is_running], targets[is_running], is_running.sum(axis=1).tolist()


def make_converter(dataset, features, loss_reduction='mean', processes=None):
    """Returns a Chainer converter from captions of a data set to a :class:`Batch`.

    Args:
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        features (lib.features.table.FeatureTable): The features of its images.
        loss_reduction (str): ``'mean'`` makes the loss the mean over the targets, ``'sentence'``
            the mean over the captions.
        processes (lib.processes.Processes): Those that are given the same captions. Each converts a
            share of them, so that the mean of their losses is the loss of all; by default there is
            only one.

    Returns:
        callable: Takes indices of captions and a device; returns a tuple of one batch, since
        Chainer's updater and evaluator pass the parts of any other tuple one by one.
    """
    processes = processes or Processes()

    @chainer.dataset.converter()
    def convert(captions, device):
        captions = numpy.asarray(captions)
        lengths = dataset.offsets[captions + 1] - dataset.offsets[captions]
        weight = len(captions) if loss_reduction == 'sentence' else (lengths + 1).sum()
        if processes.size > 1:
            # Sorted, so that all have captions of nearly the same lengths and none waits.
            captions = processes.share_of(captions[numpy.argsort(lengths, kind='stable')])
        order, inputs, targets, captions_per_step = pack(dataset.tokens, dataset.offsets, captions)
        images = dataset.image[order]
        inputs, targets = _send_together(device, inputs, targets)
        divisor = float(weight / processes.size)
        rows = features[dataset.imgid[images]]
        return (Batch(rows, inputs, targets, captions_per_step, divisor, images),)

    return convert


def _send_together(device, *arrays):
    """Sends arrays in one transfer, since each has a fixed cost on a GPU."""
    ends = numpy.cumsum([len(array) for array in arrays])
    return device.xp.split(device.send(numpy.concatenate(arrays)), ends[:-1].tolist())
