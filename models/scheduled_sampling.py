"""Scheduled sampling: training on tokens that the network predicts itself."""

import chainer
import numpy

from models.fast.categorical import sample_categorical


def apply_scheduled_sampling(inputs, predict, batch_sizes, probability):
    """Replaces some tokens of a packed batch by tokens drawn from the predictions there.

    All tokens are replaced at once, in a second pass through the network (Duckworth et al.,
    *Parallel Scheduled Sampling*, arXiv:1906.04331, after Bengio et al., arXiv:1506.03099).

    Args:
        inputs (array): Tokens that the network takes, packed time-major (see
            :mod:`models.fast.packed_lstm`), (R,), int32.
        predict (callable): Returns newly allocated logits of the next token, (n, V), after
            n rows of ``inputs``, given as an array of indices.
        batch_sizes (sequence of int): Captions at each time step.
        probability (float): Probability that a token, ``<S>`` excepted, is replaced.

    Returns:
        array: The new tokens, (R,), int32.
    """
    # For each row after the first time step, the row of the token before.
    starts = numpy.cumsum([0, *batch_sizes])
    previous = numpy.concatenate(
        [numpy.arange(size) + start for size, start in zip(batch_sizes[1:], starts)] or [[]]
    ).astype('int32')
    # Drawn on the CPU, so that the number of rows is known without waiting for a GPU.
    replaced = numpy.flatnonzero(numpy.random.rand(len(previous)) < probability)
    device = chainer.backend.get_device_from_array(inputs)
    previous, replaced = device.send(numpy.stack((previous[replaced], batch_sizes[0] + replaced)))
    sampled = inputs.copy()
    sampled[replaced] = sample_categorical(predict(previous))
    return sampled
