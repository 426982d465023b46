"""Drawing from categorical distributions."""

import chainer


def sample_categorical(logits, rows):
    """Draws an index for each of n samples.

    Args:
        logits (array): Unnormalized log-probabilities of m distributions, (m, V), float;
            overwritten.
        rows (array): The distribution that each sample is drawn from, (n,), integers.
            Several may be drawn from the same one.

    Returns:
        array: Indices below V, (n,), int32.
    """
    xp = chainer.backend.get_array_module(logits)
    logits -= logits.max(axis=1, keepdims=True)
    xp.exp(logits, out=logits)
    cumulative = xp.cumsum(logits, axis=1, out=logits)
    cumulative /= cumulative[:, -1:]
    thresholds = xp.random.rand(len(rows))
    # The cumulative probabilities at the ends of groups of indices form one sorted array (row
    # r lies between r and r + 1). A binary search in it finds the group of each sample; only
    # that group is searched index by index.
    size = logits.shape[1]
    group_size = round(size**0.5)
    offsets = xp.arange(len(cumulative), dtype='float64')[:, None]
    ends = cumulative[:, group_size - 1 :: group_size] + offsets
    groups = xp.searchsorted(ends.ravel(), rows + thresholds, side='right')
    groups -= ends.shape[1] * rows
    members = xp.minimum(groups[:, None] * group_size + xp.arange(group_size), size - 1)
    n_below = (cumulative[rows[:, None], members] <= thresholds[:, None]).sum(axis=1)
    return xp.clip(groups * group_size + n_below, 0, size - 1).astype('int32')
