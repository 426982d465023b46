"""Words that a network predicts, in place of some right ones."""

from models.drawing import draw

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
    logits = predict(before[is_replaced])
    mixed[n_first:][is_replaced] = draw(logits, xp.arange(len(logits)))
    return mixed
