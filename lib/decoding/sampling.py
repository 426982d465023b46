"""Captions drawn at random."""

import chainer
import numpy

from lib.captions.vocabulary import BOS, EOS
from lib.decoding.caption import Caption, until_eos
from lib.decoding.state import select, start, step
from models.fast.categorical import sample_categorical


def sample(
    model, features, top: int = 5, temperature: float = 1.0, max_length: int = 60, constraints=()
) -> list[list[Caption]]:
    """Draws captions token by token (Section 3.1, "Sampling", of Show and Tell).

    On a CPU, captions of an image share a row of the network's state while their tokens are the
    same.

    Args:
        model: As for :func:`lib.decoding.beam_search.beam_search`.
        features (array): Image features, (B, D), float.
        top (int): Captions to draw for each image.
        temperature (float): Divides the log-probabilities before a token is drawn: below 1
            probable tokens become more probable, above 1 less.
        max_length (int): Maximum number of tokens of a caption.
        constraints (sequence of callable): See :mod:`lib.decoding.constraints`.

    Returns:
        list of list of Caption: For each image its captions, the most probable first, with
        their log-probabilities at temperature 1. A caption may occur more than once.
    """
    xp = chainer.backend.get_array_module(features)
    # Per caption:
    images = xp.repeat(xp.arange(len(features)), top)
    tokens = xp.full((len(images), max_length), EOS, 'int32')
    log_probs = xp.zeros(len(images))
    # The unfinished captions, and the row of the network's state that each of them has:
    unfinished = xp.arange(len(images))
    rows = images
    # Per row of the state: a caption that has it, and the last token of all that do.
    captions = xp.arange(0, len(images), top)
    last_tokens = xp.full(len(features), BOS, 'int32')
    state = start(model, features)
    for length in range(max_length):
        step_log_probs, state = step(model, last_tokens, state)
        step_log_probs[:, BOS] = -numpy.inf
        logits = step_log_probs / temperature
        for constrain in constraints:
            constrain(logits, tokens[captions, :length], images[captions])
        next_tokens = sample_categorical(logits, rows)
        tokens[unfinished, length] = next_tokens
        log_probs[unfinished] += step_log_probs[rows, next_tokens]

        remaining = xp.flatnonzero(next_tokens != EOS)
        unfinished = unfinished[remaining]
        if not unfinished.size:
            break
        rows, last_tokens = rows[remaining], next_tokens[remaining]
        state_rows, rows, first = _merge_equal(rows, last_tokens, step_log_probs.shape[1])
        state = select(state, state_rows)
        captions, last_tokens = unfinished[first], last_tokens[first]
    return _collect(tokens, log_probs, top)


def _merge_equal(rows, next_tokens, n_tokens):
    """Finds captions that are still the same, on a CPU.

    A GPU would need to sort and to wait for that, and has no use for so few rows anyway. There
    each caption gets its own row.

    Args:
        rows (array): The row of the network's state of each caption, (n,).
        next_tokens (array): Their next tokens, (n,).
        n_tokens (int): Size of the vocabulary.

    Returns:
        tuple of arrays: The old row of each new one; the new row of each caption, (n,); and the
        first caption of each new row.
    """
    xp = chainer.backend.get_array_module(rows)
    if xp is not numpy:
        each = xp.arange(len(rows))
        return rows, each, each
    pairs, first, new_rows = numpy.unique(
        rows * n_tokens + next_tokens, return_index=True, return_inverse=True
    )
    return pairs // n_tokens, new_rows, first


def _collect(tokens, log_probs, n_samples):
    to_cpu = chainer.get_device('@numpy').send
    captions = [
        Caption(until_eos(caption_tokens), log_prob)
        for caption_tokens, log_prob in zip(to_cpu(tokens).tolist(), to_cpu(log_probs).tolist())
    ]
    return [
        sorted(captions[start : start + n_samples], key=lambda caption: -caption.log_prob)
        for start in range(0, len(captions), n_samples)
    ]
