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


def beam_search(model, features, beam_width=20, top=5, max_length=60, length_normalization=0,
                constraints=()):
    """Finds the most probable captions (Section 3.1, "Inference", of Show and Tell).

    The ``beam_width`` best sentences of an image, finished and unfinished ones together, are
    extended by every word, and the best ``beam_width`` of the outcome kept. Sentences
    that ``max_length`` words do not finish are returned as they are.

    Log-probabilities only fall as sentences grow. So an unfinished sentence that ranks below
    ``top`` finished ones can no longer matter and is given up; the result is the same as if
    the search went on until the whole beam is finished. With length normalisation, which
    may lift a sentence as it grows, the search does go on.

    Args:
        model: Gives ``start(features)`` and ``step(tokens, state)`` as
            :class:`models.show_and_tell.ShowAndTell` does.
        features (array): Image features, (B, D), float.
        beam_width (int): The paper's beam size, M.
        top (int): How many captions to return, at most ``beam_width``.
        max_length (int): Most words a caption may have.
        length_normalization (float): Sentences of n words, the end word included, are ranked by
            their log-probability divided by n to this power; 0 ranks by log-probability.
        constraints (sequence of callable): Each is given the log-probabilities of the next word
            (n, V), to change in place, the words of these n sentences so far, (n, length), and
            their images, (n,). See :mod:`lib.constraints`.

    Returns:
        list of list of Sentence: For each image its captions, best first.
    """
    xp = chainer.backend.get_array_module(features)
    n_images = len(features)
    top = min(top, beam_width)

    # Every image starts with one empty sentence; the places beside it are vacant (-inf).
    scores = xp.full((n_images, beam_width), -xp.inf, 'float64')
    scores[:, 0] = 0
    # What the log-probabilities of finished sentences are divided by before they are ranked.
    divisors = xp.ones_like(scores)
    finished = xp.zeros((n_images, beam_width), bool)
    words = xp.full((n_images, beam_width, max_length), END, 'int32')
    state = model.start(features)
    last_words = xp.full(n_images, START, 'int32')

    for length in range(max_length):
        live = ~finished & (scores > -xp.inf)
        if not live.any():
            break
        log_probs, state = model.step(last_words, state)
        for constrain in constraints:
            constrain(log_probs, words[live][:, :length], xp.nonzero(live)[0])
        divisor = (length + 1) ** length_normalization
        ranks, parents, next_words = _best_extensions(
            scores, finished, live, log_probs, divisors, divisor)

        images = xp.arange(n_images)[:, None]
        divisors = xp.where(next_words < 0, divisors[images, parents], divisor)
        scores = ranks * divisors
        finished = (next_words < 0) | (next_words == END)
        words = words[images, parents]
        words[:, :, length] = xp.where(next_words < 0, END, next_words)
        if length_normalization == 0:
            _give_up_hopeless(scores, finished, top)

        # The state and the last word of the sentences that go on.
        row_of = _row_of(live)
        live = ~finished & (scores > -xp.inf)
        rows = row_of[images, parents][live]
        state = tuple(array[rows] for array in state)
        last_words = next_words[live]
    return _collect(scores, words, top)


def _row_of(live):
    """Returns the row that each live sentence (B, M) has among all live ones."""
    xp = chainer.backend.get_array_module(live)
    return xp.cumsum(live).reshape(live.shape) - 1


def _best_extensions(scores, finished, live, log_probs, divisors, divisor):
    """Extends every live sentence by every word and keeps the best of each image.

    Words are looked at in groups. A sentence among the best M can only come from one of
    the M groups with the best best words: each of the M others holds a better one. So one pass
    over all words finds the best of each group, and what is sorted is small, which counts
    most on a GPU, where CuPy would sort everything.

    Args:
        scores, finished, live (arrays): (B, M).
        log_probs (array): Of the next word, one row per live sentence, (n, V).
        divisors (array): What scores of finished sentences are divided by to rank them, (B, M).
        divisor (float): The same for the extensions of live ones.

    Returns:
        tuple of arrays, each (B, M): What the new sentences are ranked by, best first; the
        sentence that each one extends; and the word it adds, -1 where a finished sentence
        stays as it was.
    """
    xp = chainer.backend.get_array_module(scores)
    n_images, beam_width = scores.shape
    n_words = log_probs.shape[1]
    group_size = round(n_words ** 0.5)
    best_of_groups = _best_of_groups(log_probs, group_size)
    n_groups = best_of_groups.shape[1]

    totals = xp.full((n_images, beam_width, n_groups), -xp.inf, scores.dtype)
    totals[live] = scores[live][:, None] + best_of_groups
    chosen, _ = _largest(totals.reshape(n_images, -1), beam_width)
    parents, groups = chosen // n_groups, chosen % n_groups

    # The words of the chosen groups, (B, M, group size), and the finished sentences beside them.
    images = xp.arange(n_images)[:, None]
    words = groups[:, :, None] + n_groups * xp.arange(group_size)
    row_of = _row_of(live)
    totals = scores[images, parents][:, :, None] + log_probs[
        row_of[images, parents][:, :, None], xp.minimum(words, n_words - 1)]
    totals[(words >= n_words) | ~live[images, parents][:, :, None]] = -xp.inf
    candidates = xp.concatenate((totals.reshape(n_images, -1) / divisor,
                                 xp.where(finished, scores / divisors, -xp.inf)), axis=1)
    best, ranks = _largest(candidates, beam_width)

    is_old = best >= beam_width * group_size
    position = xp.where(is_old, 0, best)
    return (ranks,
            xp.where(is_old, best - beam_width * group_size,
                     parents[images, position // group_size]),
            xp.where(is_old, -1, words.reshape(n_images, -1)[images, position]).astype('int32'))


def _best_of_groups(log_probs, group_size):
    """Returns the largest of each group of words, (n, groups).

    Group ``g`` of all ``G`` is the words ``g``, ``g + G``, ``g + 2 G`` and so on, so that
    maxima are taken of long rows. The last words need not fill a row.
    """
    xp = chainer.backend.get_array_module(log_probs)
    n, n_words = log_probs.shape
    n_groups = -(-n_words // group_size)
    in_full_rows = n_words // n_groups * n_groups
    best = log_probs[:, :in_full_rows].reshape(n, -1, n_groups).max(axis=1)
    rest = log_probs[:, in_full_rows:]
    part = best[:, :rest.shape[1]]
    xp.maximum(part, rest, out=part)
    return best


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
            Sentence(until_end(sentence.tolist()), float(score))
            for score, sentence in zip(image_scores, image_words) if score > -float('inf')]
            # Of a network that has diverged every sentence is impossible.
            or [Sentence([], -float('inf'))])
    return results


def until_end(tokens):
    """Returns the words of a list before the first end word."""
    return tokens[:tokens.index(END)] if END in tokens else tokens
