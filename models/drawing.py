"""Words drawn at random from what a network predicts."""

import chainer


def draw(logits, rows):
    """Draws a word for each of n sentences.

    Args:
        logits (array): Of every word, or log-probabilities, (m, V); overwritten.
        rows (array): The row of logits that each sentence draws from, (n,), integers. Many may
            draw from the same one.

    Returns:
        array: Word indices, (n,), int32.
    """
    xp = chainer.backend.get_array_module(logits)
    logits -= logits.max(axis=1, keepdims=True)
    xp.exp(logits, out=logits)
    sums = xp.cumsum(logits, axis=1, out=logits)
    sums /= sums[:, -1:]
    thresholds = xp.random.rand(len(rows))
    # Where groups of words end, in one sorted array: in row r between r and r + 1. One search
    # in it finds the groups of all sentences; then only these are looked at word by word.
    n_words = logits.shape[1]
    group_size = round(n_words ** 0.5)
    ends = sums[:, group_size - 1::group_size] + xp.arange(len(sums), dtype='float64')[:, None]
    groups = xp.searchsorted(ends.ravel(), rows + thresholds, side='right') - ends.shape[1] * rows
    words = xp.minimum(groups[:, None] * group_size + xp.arange(group_size), n_words - 1)
    n_below = (sums[rows[:, None], words] <= thresholds[:, None]).sum(axis=1)
    return xp.clip(groups * group_size + n_below, 0, n_words - 1).astype('int32')
