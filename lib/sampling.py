"""Captions drawn at random."""

from lib.beam_search import Sentence, until_end
from lib.vocabulary import END, START
from models.drawing import draw

import chainer


def sample(model, features, n_samples, temperature=1.0, max_length=60, constraints=()):
    """Draws captions word by word (Section 3.1, "Sampling", of Show and Tell).

    Captions of an image that begin alike share a row of the network's state until they part.

    Args:
        model: As :func:`lib.beam_search.beam_search` takes it.
        features (array): Image features, (B, D), float.
        n_samples (int): Captions to draw for each image.
        temperature (float): Log-probabilities are divided by it before a word is drawn: below 1
            probable words become more so, above 1 less.
        max_length (int): Most words a caption may have.
        constraints (sequence of callable): See :mod:`lib.constraints`.

    Returns:
        list of list of Sentence: For each image its captions, the most probable first, with
        their log-probabilities at temperature 1. The same caption may be there twice.
    """
    xp = chainer.backend.get_array_module(features)
    images = xp.repeat(xp.arange(len(features)), n_samples)
    words = xp.full((len(images), max_length), END, 'int32')
    scores = xp.zeros(len(images))
    state = model.start(features)
    last_words = xp.full(len(features), START, 'int32')
    # The captions that go on, and the row of the state that each of them has.
    live, rows = xp.arange(len(images)), images
    for length in range(max_length):
        log_probs, state = model.step(last_words, state)
        n_words = log_probs.shape[1]
        allowed = log_probs / temperature
        if constraints:
            _, first = xp.unique(rows, return_index=True)
            for constrain in constraints:
                constrain(allowed, words[live[first], :length], images[live[first]])
        next_words = draw(allowed, rows)
        words[live, length] = next_words
        scores[live] += log_probs[rows, next_words]

        going_on = next_words != END
        live = live[going_on]
        if not live.size:
            break
        beginnings, rows = xp.unique(rows[going_on] * n_words + next_words[going_on],
                                     return_inverse=True)
        state = tuple(array[beginnings // n_words] for array in state)
        last_words = (beginnings % n_words).astype('int32')

    to_cpu = chainer.get_device('@numpy').send
    sentences = [Sentence(until_end(tokens), score)
                 for tokens, score in zip(to_cpu(words).tolist(), to_cpu(scores).tolist())]
    return [sorted(sentences[first:first + n_samples], key=lambda sentence: -sentence.log_prob)
            for first in range(0, len(sentences), n_samples)]
