"""Log-probabilities of given captions."""

import dataclasses
import math

import chainer
import numpy

from lib.captions.batch import Batch, flatten, pack
from lib.decoding.caption import Caption
from lib.decoding.state import select, start, step


def rescore(
    model, features, captions: list[list[Caption]], max_length: int = 60
) -> list[list[Caption]]:
    """Gives captions that another model has found the log-probabilities of a model.

    Args:
        model: As for :func:`lib.decoding.beam_search.beam_search`.
        features (array): Image features, (B, D), float.
        captions (list of list of Caption): The captions of each image.
        max_length (int): Maximum number of tokens; a caption of this many has not ended.

    Returns:
        list of list of Caption: The same captions in the same order. A log-probability that is not
        finite is kept.
    """
    flat = [caption for best in captions for caption in best]
    if not flat:
        return [[] for _ in captions]
    tokens, offsets = flatten([caption.tokens for caption in flat])
    order, inputs, targets, captions_per_step = pack(tokens, offsets, numpy.arange(len(flat)))
    images = numpy.repeat(numpy.arange(len(captions)), [len(best) for best in captions])[order]
    send = chainer.backend.get_device_from_array(features).send
    batch = Batch(
        features=features[send(images)],
        inputs=send(inputs),
        targets=send(targets),
        captions_per_step=captions_per_step,
        divisor=len(targets),
        images=images,
    )
    of_tokens = chainer.get_device('@numpy').send(token_log_probs(model, batch))
    # Captions that are as long as possible have no </S>.
    n_tokens = sum(captions_per_step[:max_length])
    numbers = numpy.concatenate([order[:size] for size in captions_per_step])[:n_tokens]
    log_probs = iter(numpy.bincount(numbers, of_tokens[:n_tokens], len(flat)).tolist())
    return [[_with_log_prob(caption, next(log_probs)) for caption in best] for best in captions]


def token_log_probs(model, batch):
    """Returns the log-probabilities of the tokens of a batch of captions.

    Args:
        model: As for :func:`lib.decoding.beam_search.beam_search`.
        batch (lib.captions.batch.Batch): The captions.

    Returns:
        array: Of each target, in nats, (R,).
    """
    xp = chainer.backend.get_array_module(batch.features)
    state = start(model, batch.features)
    begin = 0
    log_probs = []
    for size in batch.captions_per_step:
        rows = slice(begin, begin + size)
        next_tokens, state = step(model, batch.inputs[rows], select(state, slice(size)))
        log_probs.append(next_tokens[xp.arange(size), batch.targets[rows]])
        begin += size
    return xp.concatenate(log_probs)


def _with_log_prob(caption, log_prob):
    is_finite = math.isfinite(caption.log_prob)
    return dataclasses.replace(caption, log_prob=log_prob) if is_finite else caption
