"""Beam search over many images at once."""

from typing import NamedTuple

from lib.vocabulary import END, START

import chainer


class Sentence(NamedTuple):
    """A decoded caption.

    Attributes:
        tokens (list of int): Its words, without start and end words.
        log_prob (float): Log-probability in nats of its words and, if it was finished
            within the maximum length, the end word.
    """

    tokens: list
    log_prob: float


def beam_search(model, features, beam_width=20, top=5, max_length=60):
    """Finds the most probable captions (Section 3.1, "Inference", of Show and Tell).

    The ``beam_width`` best sentences of an image, finished and unfinished ones together, are
    extended by every word, and the best ``beam_width`` of the outcome kept. Sentences
    that ``max_length`` words do not finish are returned as they are.

    Log-probabilities only fall as sentences grow. So an unfinished sentence that ranks below
    ``top`` finished ones can no longer matter and is given up; the result is the same as if
    the search went on until the whole beam is finished.

    Args:
        model: Gives ``start(features)`` and ``step(tokens, state)`` as
            :class:`models.show_and_tell.ShowAndTell` does.
        features (array): Image features, (B, D), float.
        beam_width (int): The paper's beam size, M.
        top (int): How many captions to return, at most ``beam_width``.
        max_length (int): Most words a caption may have.

    Returns:
        list of list of Sentence: For each image its captions, best first.
    """
    xp = chainer.backend.get_array_module(features)
    n_images = len(features)
    top = min(top, beam_width)

    # Every image starts with one empty sentence; the places beside it are vacant (-inf).
    scores = xp.full((n_images, beam_width), -xp.inf, 'float64')
    scores[:, 0] = 0
    finished = xp.zeros((n_images, beam_width), bool)
    words = xp.full((n_images, beam_width, max_length), END, 'int32')
    state = model.start(features)
    last_words = xp.full(n_images, START, 'int32')

    for length in range(max_length):
        live = ~finished & (scores > -xp.inf)
        if not live.any():
            break
        log_probs, state = model.step(last_words, state)
        scores, parents, next_words = _best_extensions(scores, finished, live, log_probs)

        images = xp.arange(n_images)[:, None]
        finished = (next_words < 0) | (next_words == END)
        words = words[images, parents]
        words[:, :, length] = xp.where(next_words < 0, END, next_words)
        _give_up_hopeless(scores, finished, top)

        # The state and the last word of the sentences that go on.
        row_of = xp.cumsum(live).reshape(live.shape) - 1
        live = ~finished & (scores > -xp.inf)
        rows = row_of[images, parents][live]
        state = tuple(array[rows] for array in state)
        last_words = next_words[live]
    return _collect(scores, words, top)


def _best_extensions(scores, finished, live, log_probs):
    """Extends every live sentence by every word and keeps the best of each image.

    Args:
        scores, finished, live (arrays): (B, M).
        log_probs (array): Of the next word, one row per live sentence, (n, V).

    Returns:
        tuple of arrays, each (B, M): The new scores, best first; the sentence that each one
        extends; and the word it adds, -1 where a finished sentence stays as it was.
    """
    xp = chainer.backend.get_array_module(scores)
    n_images, beam_width = scores.shape
    n_words = min(beam_width, log_probs.shape[1])
    best_words, best_log_probs = _largest(log_probs, n_words)

    # No more than M extensions of one sentence can be among the best M.
    candidates = xp.full((n_images, beam_width, n_words), -xp.inf, scores.dtype)
    candidates[live] = scores[live][:, None] + best_log_probs
    candidates[:, :, 0][finished] = scores[finished]
    candidate_words = xp.full(candidates.shape, -1, 'int32')
    candidate_words[live] = best_words

    best, new_scores = _largest(candidates.reshape(n_images, -1), beam_width)
    words = xp.take_along_axis(candidate_words.reshape(n_images, -1), best, axis=1)
    return new_scores, best // n_words, words


def _largest(values, k):
    """Returns the indices and values of the ``k`` largest of each row, largest first."""
    xp = chainer.backend.get_array_module(values)
    n = values.shape[1]
    indices = xp.argpartition(values, n - k, axis=1)[:, n - k:]
    largest = xp.take_along_axis(values, indices, axis=1)
    order = xp.argsort(-largest, axis=1)
    return (xp.take_along_axis(indices, order, axis=1),
            xp.take_along_axis(largest, order, axis=1))


def _give_up_hopeless(scores, finished, top):
    """Vacates the places of sentences that rank below ``top`` finished ones."""
    xp = chainer.backend.get_array_module(scores)
    scores[xp.cumsum(finished, axis=1) - finished >= top] = -xp.inf


def _collect(scores, words, top):
    to_cpu = chainer.get_device('@numpy').send
    results = []
    for image_scores, image_words in zip(to_cpu(scores)[:, :top], to_cpu(words)[:, :top]):
        results.append([
            Sentence(_until_end(sentence.tolist()), float(score))
            for score, sentence in zip(image_scores, image_words) if score > -float('inf')])
    return results


def _until_end(tokens):
    return tokens[:tokens.index(END)] if END in tokens else tokens
