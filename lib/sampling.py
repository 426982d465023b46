"""Captions drawn at random."""

from lib.beam_search import Sentence, until_end
from lib.vocabulary import END, START

import chainer


def sample(model, features, n_samples, temperature=1.0, max_length=60, constraints=()):
    """Draws captions word by word (Section 3.1, "Sampling", of Show and Tell).

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
    state = tuple(array[images] for array in model.start(features))
    words = xp.full((len(images), max_length), END, 'int32')
    scores = xp.zeros(len(images))
    last_words = xp.full(len(images), START, 'int32')
    live = xp.arange(len(images))
    for length in range(max_length):
        if not live.size:
            break
        log_probs, state = model.step(last_words, state)
        allowed = log_probs.copy()
        for constrain in constraints:
            constrain(allowed, words[live, :length], images[live])
        # Gumbel noise turns drawing into looking for the largest.
        noise = -xp.log(xp.random.exponential(size=allowed.shape))
        next_words = (allowed / temperature + noise).argmax(axis=1).astype('int32')
        words[live, length] = next_words
        scores[live] += log_probs[xp.arange(len(live)), next_words]
        going_on = xp.nonzero(next_words != END)[0]
        live, last_words = live[going_on], next_words[going_on]
        state = tuple(array[going_on] for array in state)

    to_cpu = chainer.get_device('@numpy').send
    sentences = [Sentence(until_end(tokens), score)
                 for tokens, score in zip(to_cpu(words).tolist(), to_cpu(scores).tolist())]
    return [sorted(sentences[first:first + n_samples], key=lambda sentence: -sentence.log_prob)
            for first in range(0, len(sentences), n_samples)]
