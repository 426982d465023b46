"""Drawing from categorical distributions."""

import numpy
from chainer.backends import cuda

from models.fast.kernels import launch_blocks, load_kernel, random_key

SOURCE = 'models/fast/categorical.cu'


def sample_categorical(logits, rows=None):
    """Draws an index for each of n samples.

    All random numbers come from ``numpy.random``; on a GPU, from a key that it draws.

    Args:
        logits (array): Unnormalized log-probabilities of m distributions, (m, V), float; on
            a CPU overwritten.
        rows (array): The distribution that each sample is drawn from, (n,), int64. Several
            may be drawn from the same one; by default one is drawn from each.

    Returns:
        array: Indices below V, (n,), int32; any if the logits are NaN.
    """
    if not isinstance(logits, numpy.ndarray):
        return _sample_on_gpu(logits, rows)
    if rows is None:
        rows = numpy.arange(len(logits))
    logits -= logits.max(axis=1, keepdims=True)
    numpy.exp(logits, out=logits)
    cumulative = numpy.cumsum(logits, axis=1, out=logits)
    cumulative /= cumulative[:, -1:]
    thresholds = numpy.random.rand(len(rows))
    # The cumulative probabilities at the ends of groups of indices form one sorted array (row
    # r lies between r and r + 1). A binary search in it finds the group of each sample; only
    # that group is searched index by index.
    size = logits.shape[1]
    group_size = round(size**0.5)
    offsets = numpy.arange(len(cumulative), dtype='float64')[:, None]
    ends = cumulative[:, group_size - 1 :: group_size] + offsets
    groups = numpy.searchsorted(ends.ravel(), rows + thresholds, side='right')
    # Anywhere if there are NaN, as in a network that diverged; the caller notices those.
    groups = numpy.clip(groups - ends.shape[1] * rows, 0, ends.shape[1])
    members = numpy.minimum(groups[:, None] * group_size + numpy.arange(group_size), size - 1)
    n_below = (cumulative[rows[:, None], members] <= thresholds[:, None]).sum(axis=1)
    return numpy.clip(groups * group_size + n_below, 0, size - 1).astype('int32')


def _sample_on_gpu(logits, rows):
    n_samples = len(logits if rows is None else rows)
    indices = cuda.cupy.empty(n_samples, 'int32')
    launch_blocks(
        load_kernel(SOURCE, 'sample', T=logits.dtype),
        n_samples,
        logits,
        0 if rows is None else cuda.cupy.ascontiguousarray(rows, 'int64'),
        indices,
        logits.shape[1],
        random_key(),
    )
    return indices
