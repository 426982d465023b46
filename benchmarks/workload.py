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


def measure_sgemm(seconds=1.0, size=2048):
    """Returns the rate of NumPy's float32 matrix product, operations a second."""
    a = numpy.random.rand(size, size).astype('float32')
    b = numpy.empty_like(a)
    numpy.matmul(a, a, out=b)
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        numpy.matmul(a, a, out=b)
        n += 1
    return 2 * size ** 3 * n / (time.perf_counter() - start)
