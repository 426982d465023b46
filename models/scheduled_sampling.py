"""Words that a network predicts, in place of some right ones."""

import chainer
import numpy


def mix_in_samples(inputs, predict, batch_sizes, chance):
    """Replaces some words of a packed minibatch by words drawn from the predictions there.

    Args:
        inputs (array): Words fed in, packed time-major (see :mod:`models.packed_lstm`), (R,),
            int32.
        predict (callable): Given n indices of rows, returns new logits, (n, V), of the word
            after each of them.
        batch_sizes (sequence of int): Captions running at each word.
        chance (float): How likely each word after the first one is replaced.

    Returns:
        array: The new words, (R,), int32.
    """
    xp = chainer.backend.get_array_module(inputs)
    n_first = batch_sizes[0]
    # Row for row, the row of the word before.
    before = xp.asarray(numpy.concatenate([
        numpy.arange(size) + first for size, first in zip(
            batch_sizes[1:], numpy.cumsum([0, *batch_sizes]))] or [[]]).astype('int32'))
    is_replaced = xp.random.rand(len(before)) < chance
    mixed = inputs.copy()
    mixed[n_first:][is_replaced] = _draw(predict(before[is_replaced]))
    return mixed


def _draw(logits):
    """Draws a word for each row of logits, (n, V), which it overwrites."""
    xp = chainer.backend.get_array_module(logits)
    logits -= logits.max(axis=1, keepdims=True)
    sums = xp.cumsum(xp.exp(logits), axis=1)
    thresholds = xp.random.rand(len(logits), 1).astype(logits.dtype) * sums[:, -1:]
    # Rounding may put the threshold on the very end.
    return xp.minimum((sums <= thresholds).sum(axis=1), logits.shape[1] - 1).astype('int32')
