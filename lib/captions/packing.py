"""Packing captions into batches without padding."""

import itertools
from typing import NamedTuple

import chainer
import numpy

from lib.captions.vocabulary import BOS, EOS


class Captions(NamedTuple):
    """Captions as :func:`pack` takes them.

    Attributes:
        tokens (array): Those of all captions, one after the other, int32.
        offsets (array): Where each begins, and the last one ends, (n + 1,), int64.
    """

    tokens: numpy.ndarray
    offsets: numpy.ndarray

    @classmethod
    def of(cls, captions) -> 'Captions':
        """Joins captions that are lists of tokens."""
        offsets = numpy.cumsum([0, *map(len, captions)])
        return cls(numpy.fromiter(itertools.chain(*captions), 'int32', offsets[-1]), offsets)


def pack(dataset, indices):
    """Packs captions time-major, longest first, as :mod:`models.fast.packed_lstm` takes them.

    Args:
        dataset (lib.captions.dataset.CaptionDataset or Captions): Has the captions.
        indices (array): Which captions, (B,), integers.

    Returns:
        tuple: ``order``, the captions in the order they were packed, (B,); ``inputs``,
        ``<S>`` and the captions' tokens, (R,), int32; ``targets``, the captions' tokens and
        ``</S>``, (R,), int32; and ``batch_sizes``, a list of the number of captions that have
        each time step, which sums to R.
    """
    lengths = dataset.offsets[indices + 1] - dataset.offsets[indices]
    longest_first = numpy.argsort(-lengths, kind='stable')
    order, lengths = indices[longest_first], lengths[longest_first]

    step = numpy.arange(lengths[0] + 1)[:, None]
    is_running = step <= lengths
    is_token = step < lengths
    targets = numpy.full(is_running.shape, EOS, 'int32')
    targets[is_token] = dataset.tokens[(dataset.offsets[order] + step)[is_token]]
    inputs = numpy.full(is_running.shape, BOS, 'int32')
    inputs[1:] = targets[:-1]
    return order, inputs[is_running], targets[is_running], is_running.sum(axis=1).tolist()


def make_converter(dataset, features, with_images=False):
    """Returns a Chainer converter from caption indices to the arguments of the model's loss.

    Args:
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        features (lib.features.table.FeatureTable): The features.
        with_images (bool): Add the image of each caption in the data set, (B,), NumPy.
    """

    @chainer.dataset.converter()
    def convert(indices, device):
        order, inputs, targets, batch_sizes = pack(dataset, numpy.asarray(indices))
        images = dataset.image[order]
        rows, further = dataset.imgid[images], (images,) if with_images else ()
        inputs, targets = _send_together(device, inputs, targets)
        return features[rows], inputs, targets, batch_sizes, None, *further

    return convert


def _send_together(device, *arrays):
    """Sends arrays in one transfer, since each has a fixed cost on a GPU."""
    ends = numpy.cumsum([len(array) for array in arrays])
    return device.xp.split(device.send(numpy.concatenate(arrays)), ends[:-1].tolist())
