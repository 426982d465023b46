"""What beam search and sampling may be told to avoid.

A constraint is given the log-probabilities of the next word, (n, V), to change in place, the
words of the n sentences so far, (n, length), and the image of each sentence, (n,).
"""

from lib.vocabulary import END

import chainer
import numpy


class MinimumLength:
    """No sentence ends before it has so many words.

    Args:
        n_words (int): The fewest words of a caption.
    """

    def __init__(self, n_words):
        self.n_words = n_words

    def __call__(self, log_probs, words, images):
        if words.shape[1] < self.n_words:
            log_probs[:, END] = -numpy.inf


class NoRepeatedNgrams:
    """No sequence of so many words occurs twice in a sentence (Paulus et al., arXiv:1705.04304).

    Args:
        n (int): Length of the sequences; 1 forbids to use a word twice.
    """

    def __init__(self, n):
        self.n = n

    def __call__(self, log_probs, words, images):
        xp = chainer.backend.get_array_module(words)
        length = words.shape[1]
        last = words[:, length - self.n + 1:]
        for start in range(length - self.n + 1):
            # A word that once followed the words that are now the last ones.
            followed = (words[:, start:start + self.n - 1] == last).all(axis=1)
            rows = xp.nonzero(followed)[0]
            log_probs[rows, words[rows, start + self.n - 1]] = -numpy.inf
