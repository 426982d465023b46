"""Log-probabilities of given captions."""

import dataclasses
import math

import chainer
import numpy

from lib.captions.vocabulary import BOS, EOS
from lib.decoding.caption import Caption


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
    xp = chainer.backend.get_array_module(features)
    flat = [caption for best in captions for caption in best]
    if not flat:
        return [[] for _ in captions]
    targets = [[*caption.tokens, EOS][:max_length] for caption in flat]
    lengths = xp.array([len(tokens) for tokens in targets])
    padded = numpy.full((max(map(len, targets)), len(targets)), EOS, 'int32')
    for column, tokens in enumerate(targets):
        padded[: len(tokens), column] = tokens
    padded, columns = xp.asarray(padded), xp.arange(len(targets))
    images = numpy.repeat(numpy.arange(len(captions)), [len(best) for best in captions])
    state = tuple(array[xp.asarray(images)] for array in model.start(features))
    tokens, total = xp.full(len(targets), BOS, 'int32'), xp.zeros(len(targets))
    for step, target in enumerate(padded):
        log_probs, state = model.step(tokens, state)
        total += xp.where(step < lengths, log_probs[columns, target], 0)
        tokens = target
    log_probs = iter(chainer.get_device('@numpy').send(total).tolist())
    return [[_with_log_prob(caption, next(log_probs)) for caption in best] for best in captions]


def _with_log_prob(caption, log_prob):
    is_finite = math.isfinite(caption.log_prob)
    return dataclasses.replace(caption, log_prob=log_prob) if is_finite else caption
