"""Minibatches of COCO's shape with Flickr8k's caption lengths, and how to compare rates."""

import time

import numpy

FEATURE_SIZE, VOCABULARY_SIZE, SIZE = 4096, 8791, 512
# How many of Flickr8k's training captions have 0, 1, 2, ... words.
CAPTION_LENGTHS = [
    0, 0, 15, 125, 340, 854, 1948, 2501, 2917, 3318, 3310, 3134, 2772, 2332, 1864, 1339, 979, 683,
    518, 369, 213, 138, 105, 80, 51, 36, 19, 10, 9, 8, 5, 3, 2, 2, 0, 0, 0, 1]


def make_minibatch(rng, batch_size):
    """Returns features, inputs, targets and batch sizes as the model's loss takes them."""
    weights = numpy.array(CAPTION_LENGTHS) / sum(CAPTION_LENGTHS)
    lengths = numpy.sort(rng.choice(len(weights), batch_size, p=weights))[::-1] + 1
    batch_sizes = [int((lengths > step).sum()) for step in range(lengths[0])]
    # Words as frequent as in a language: a few make up most of a text.
    words = numpy.minimum(rng.zipf(1.3, 2 * sum(batch_sizes)), VOCABULARY_SIZE) - 1
    inputs, targets = words.astype('int32').reshape(2, -1)
    return rng.rand(batch_size, FEATURE_SIZE).astype('float32'), inputs, targets, batch_sizes


def flops_per_token(n_tokens, batch_size):
    """Floating-point operations of the matrix products of a training step, for each token.

    Forward each product takes 2 operations a weight and row; backward twice that, once for
    the input and once for the weights. The features need no gradient.
    """
    recurrent = 6 * 2 * 4 * SIZE * SIZE * (n_tokens + batch_size)
    output = 6 * SIZE * VOCABULARY_SIZE * n_tokens
    projection = 4 * FEATURE_SIZE * SIZE * batch_size
    return (recurrent + output + projection) / n_tokens


def seconds_of(device, function, *arguments):
    """Returns how long a call takes until the device has done all it asked for."""
    _synchronize(device)
    start = time.perf_counter()
    function(*arguments)
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device):
    if device.xp is not numpy:
        device.xp.cuda.Device().synchronize()    # PyTorch's work on it too


def measure_sgemm(device, seconds=1.0):
    """Returns the rate of the device's float32 matrix product, operations a second."""
    xp = device.xp
    size = 2048 if xp is numpy else 8192
    a = xp.random.rand(size, size).astype('float32')
    b = xp.empty_like(a)
    xp.matmul(a, a, out=b)
    n = total = 0
    while total < seconds:
        total += seconds_of(device, lambda: xp.matmul(a, a, out=b))
        n += 1
    return 2 * size ** 3 * n / total
