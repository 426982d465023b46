"""Captions drawn at random."""

import chainer

from lib.captions.vocabulary import BOS, EOS
from lib.decoding.caption import Caption, until_eos
from models.categorical import sample_categorical


def sample(
    model, features, n_samples: int, temperature: float = 1.0, max_length: int = 60, constraints=()
) -> list[list[Caption]]:
    """Draws captions token by token (Section 3.1, "Sampling", of Show and Tell).

    Captions of an image share a row of the network's state while their tokens are the same.

    Args:
        model: As for :func:`lib.decoding.beam_search.beam_search`.
        features (array): Image features, (B, D), float.
        n_samples (int): Captions to draw for each image.
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
    images = xp.repeat(xp.arange(len(features)), n_samples)
    tokens = xp.full((len(images), max_length), EOS, 'int32')
    log_probs = xp.zeros(len(images))
    # The unfinished captions, and the row of the network's state that each of them has:
    unfinished, rows = xp.arange(len(images)), images
    state = model.start(features)
    last_tokens = xp.full(len(features), BOS, 'int32')
    for step in range(max_length):
        step_log_probs, state = model.step(last_tokens, state)
        logits = step_log_probs / temperature
        if constraints:
            _, first = xp.unique(rows, return_index=True)
            captions = unfinished[first]
            for constrain in constraints:
                constrain(logits, tokens[captions, :step], images[captions])
        next_tokens = sample_categorical(logits, rows)
        tokens[unfinished, step] = next_tokens
        log_probs[unfinished] += step_log_probs[rows, next_tokens]

        is_unfinished = next_tokens != EOS
        unfinished = unfinished[is_unfinished]
        if not unfinished.size:
            break
        state, last_tokens, rows = _merge_equal(
            state, rows[is_unfinished], next_tokens[is_unfinished], step_log_probs.shape[1]
        )
    return _collect(tokens, log_probs, n_samples)


def _merge_equal(state, rows, next_tokens, n_tokens):
    """Merges the rows of the state of captions that are still the same.

    Args:
        state (tuple of arrays): The network's state.
        rows (array): The row of each caption in it, (n,).
        next_tokens (array): Their next tokens, (n,).
        n_tokens (int): Size of the vocabulary.

    Returns:
        tuple: The new state; the last token of each of its rows, int32; and the row that each
        caption now has, (n,).
    """
    xp = chainer.backend.get_array_module(rows)
    pairs, new_rows = xp.unique(rows * n_tokens + next_tokens, return_inverse=True)
    state = tuple(array[pairs // n_tokens] for array in state)
    return state, (pairs % n_tokens).astype('int32'), new_rows


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
