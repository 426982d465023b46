"""Scheduled sampling: training on tokens that the network predicts itself."""

import chainer
import numpy

from models.categorical import sample_categorical


def apply_scheduled_sampling(inputs, predict, batch_sizes, probability):
    """Replaces some tokens of a packed batch by tokens drawn from the predictions there.

    All tokens are replaced at once, in a second pass through the network (Duckworth et al.,
    *Parallel Scheduled Sampling*, arXiv:1906.04331, after Bengio et al., arXiv:1506.03099).

    Args:
        inputs (array): Tokens that the network takes, packed time-major (see
            :mod:`models.packed_lstm`), (R,), int32.
        predict (callable): Returns newly allocated logits of the next token, (n, V), after
            n rows of ``inputs``, given as an array of indices.
        batch_sizes (sequence of int): Captions at each time step.
        probability (float): Probability that a token, ``<S>`` excepted, is replaced.

    Returns:
        array: The new tokens, (R,), int32.
    """
    xp = chainer.backend.get_array_module(inputs)
    # For each row after the first time step, the row of the token before.
    starts = numpy.cumsum([0, *batch_sizes])
    previous = xp.asarray(
        numpy.concatenate(
            [numpy.arange(size) + start for size, start in zip(batch_sizes[1:], starts)] or [[]]
        ).astype('int32')
    )
    is_replaced = xp.random.rand(len(previous)) < probability
    logits = predict(previous[is_replaced])
    sampled = inputs.copy()
    sampled[batch_sizes[0] :][is_replaced] = sample_categorical(logits, xp.arange(len(logits)))
    return sampled
