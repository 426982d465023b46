"""Batches of COCO's shape with Flickr8k's caption lengths, and what is needed to time them."""

import sys
import time
from typing import NamedTuple

import numpy

from lib.captions.batch import Batch

FEATURE_SIZE = 4096
COCO_CAPTIONS = 566435  # in its training splits, train and restval
# How many of Flickr8k's training captions have 0, 1, 2, ... words.
CAPTION_LENGTHS = [
    0, 0, 15, 125, 340, 854, 1948, 2501, 2917, 3318, 3310, 3134, 2772, 2332, 1864, 1339, 979, 683,
    518, 369, 213, 138, 105, 80, 51, 36, 19, 10, 9, 8, 5, 3, 2, 2, 0, 0, 0, 1,
]  # fmt: skip


class Workload(NamedTuple):
    """The sizes of a training step; ``size`` is that of the embedding and of the LSTM."""

    batch_size: int = 128
    vocabulary_size: int = 8791
    size: int = 512

    def batch(self, rng, lengths=None):
        """Returns a :class:`Batch` of random captions and features.

        The lengths of the captions are random, too, unless they are given.
        """
        lengths = caption_lengths(rng, self.batch_size) if lengths is None else lengths
        lengths = numpy.sort(lengths)[::-1] + 1
        captions_per_step = [int((lengths > step).sum()) for step in range(lengths[0])]
        inputs, targets = (
            random_tokens(rng, sum(captions_per_step), self.vocabulary_size) for _ in range(2)
        )
        features = rng.rand(self.batch_size, FEATURE_SIZE).astype('float32')
        return Batch(features, inputs, targets, captions_per_step, len(targets))

    def flops(self, n_tokens, n_captions):
        """Counts the floating-point operations of the matrix products of training.

        The forward pass takes 2 operations per weight and row, the backward pass twice as
        many, half for the input and half for the weights. Features need no gradient.
        """
        recurrent = 6 * 2 * 4 * self.size * self.size * (n_tokens + n_captions)
        output = 6 * self.size * self.vocabulary_size * n_tokens
        projection = 4 * FEATURE_SIZE * self.size * n_captions
        return recurrent + output + projection


def caption_lengths(rng, n):
    """Returns the lengths of ``n`` random captions."""
    weights = numpy.array(CAPTION_LENGTHS) / sum(CAPTION_LENGTHS)
    return rng.choice(len(weights), n, p=weights)


def random_tokens(rng, n, vocabulary_size):
    """Returns tokens with Zipf-distributed frequencies, as in natural language."""
    return (numpy.minimum(rng.zipf(1.3, n), vocabulary_size) - 1).astype('int32')


def has_torch(device):
    """Returns whether PyTorch can be used on a device; says why if not."""
    try:
        import torch
    except ImportError as error:
        print(f'without PyTorch: {error}', file=sys.stderr)
        return False
    if device.xp is not numpy and not torch.cuda.is_available():
        print('without PyTorch, which was built without CUDA', file=sys.stderr)
        return False
    return True


def seconds_of(device, function, *arguments):
    """Calls a function.

    Returns:
        tuple: The seconds until the device had finished, and the function's result.
    """
    _synchronize(device)
    start = time.perf_counter()
    result = function(*arguments)
    _synchronize(device)
    return time.perf_counter() - start, result


def _synchronize(device):
    if device.xp is not numpy:
        device.xp.cuda.Device().synchronize()  # waits for PyTorch's work, too


def measure_sgemm(device, seconds=1.0):
    """Measures the device's rate of float32 matrix products, operations per second."""
    xp = device.xp
    size = 2048 if xp is numpy else 8192
    a = xp.random.rand(size, size).astype('float32')
    b = xp.empty_like(a)
    xp.matmul(a, a, out=b)
    n = total = 0
    while total < seconds:
        total += seconds_of(device, lambda: xp.matmul(a, a, out=b))[0]
        n += 1
    return 2 * size**3 * n / total
