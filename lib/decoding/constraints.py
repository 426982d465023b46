"""What beam search and sampling can be made to avoid.

A constraint is called with the log-probabilities of the next token of n unfinished captions,
(n, V), which it lowers in place; with the tokens of these captions so far, (n, length); and
with the image that each describes, (n,).
"""

import chainer
import numpy

from lib.captions.vocabulary import EOS


class MinimumLength:
    """Lets no caption end before it has ``n_tokens`` tokens."""

    def __init__(self, n_tokens):
        self.n_tokens = n_tokens

    def __call__(self, log_probs, tokens, images):
        if tokens.shape[1] < self.n_tokens:
            log_probs[:, EOS] = -numpy.inf


class NoRepeatedNgrams:
    """Lets no n-gram occur twice in a caption (Paulus et al., arXiv:1705.04304)."""

    def __init__(self, n):
        self.n = n

    def __call__(self, log_probs, tokens, images):
        xp = chainer.backend.get_array_module(tokens)
        length = tokens.shape[1]
        prefix = tokens[:, length - self.n + 1 :]
        for start in range(length - self.n + 1):
            end = start + self.n - 1
            # Forbid the token that followed an earlier occurrence of the prefix.
            rows = xp.nonzero((tokens[:, start:end] == prefix).all(axis=1))[0]
            log_probs[rows, tokens[rows, end]] = -numpy.inf
