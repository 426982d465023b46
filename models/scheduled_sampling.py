"""Scheduled sampling: training on tokens that the network predicts itself."""

import chainer
import numpy

from models.fast.categorical import sample_categorical


def apply_scheduled_sampling(batch, predict, probability):
    """Replaces some inputs of a batch by tokens drawn from the predictions there.

    All tokens are replaced at once, in a second pass through the network (Duckworth et al.,
    *Parallel Scheduled Sampling*, arXiv:1906.04331, after Bengio et al., arXiv:1506.03099).

    Args:
        batch (lib.captions.batch.Batch): The captions.
        predict (callable): See :meth:`models.network.Network.predictor`.
        probability (float): Probability that a token, ``<S>`` excepted, is replaced.

    Returns:
        array: The new inputs, (R,), int32.
    """
    captions_per_step = batch.captions_per_step
    # For each row after the first time step, the row of the token before.
    starts = numpy.cumsum([0, *captions_per_step])
    previous = numpy.concatenate(
        [numpy.arange(size) + start for size, start in zip(captions_per_step[1:], starts)] or [[]]
    ).astype('int32')
    # Drawn on the CPU, so that the number of rows is known without waiting for a GPU.
    replaced = numpy.flatnonzero(numpy.random.rand(len(previous)) < probability)
    rows = numpy.stack((previous[replaced], captions_per_step[0] + replaced))
    previous, replaced = chainer.backend.get_device_from_array(batch.inputs).send(rows)
    inputs = batch.inputs.copy()
    inputs[replaced] = sample_categorical(predict(previous))
    return inputs
