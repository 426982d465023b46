"""Words drawn at random from what a network predicts."""

import chainer


def draw(logits, rows):
    """Draws a word for each of n sentences.

    Args:
        logits (array): Of every word, or log-probabilities, (m, V).
        rows (array): The row of logits that each sentence draws from, (n,), integers. Many may
            draw from the same one.

    Returns:
        array: Word indices, (n,), int32.
    """
    xp = chainer.backend.get_array_module(logits)
    n_words = logits.shape[1]
    sums = xp.exp(logits - logits.max(axis=1, keepdims=True)).astype('float64')
    xp.cumsum(sums, axis=1, out=sums)
    sums /= sums[:, -1:]
    # In one sorted array row r ends at r + 1, so that one search finds the words of all.
    sums += xp.arange(len(sums))[:, None]
    places = xp.searchsorted(sums.ravel(), rows + xp.random.rand(len(rows)), side='right')
    # Rounding may reach the next row.
    return xp.clip(places - n_words * rows, 0, n_words - 1).astype('int32')
