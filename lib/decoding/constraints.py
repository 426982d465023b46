"""What beam search and sampling can be made to avoid.

A constraint is called with the log-probabilities of the next token of n unfinished captions,
(n, V), which it lowers in place; with the tokens of these captions so far, (n, length); and
with the image that each describes, (n,).
"""

import chainer
import numpy

from lib.captions.vocabulary import EOS, UNK


def make_constraints(options):
    """Returns the constraints that options call for.

    Args:
        options (lib.decoding.options.DecodingOptions): The options.

    Returns:
        list of callable: The constraints.
    """
    constraints = []
    if options.min_length:
        constraints.append(MinimumLength(options.min_length))
    if options.forbid_unknown:
        constraints.append(NoUnknown())
    if options.no_repeat_ngram:
        constraints.append(NoRepeatedNgrams(options.no_repeat_ngram))
    return constraints


class MinimumLength:
    """Lets no caption end before it has ``n_tokens`` tokens."""

    def __init__(self, n_tokens):
        self.n_tokens = n_tokens

    def __call__(self, log_probs, tokens, images):
        if tokens.shape[1] < self.n_tokens:
            log_probs[:, EOS] = -numpy.inf


class NoUnknown:
    """Lets captions contain no ``<UNK>``."""

    def __call__(self, log_probs, tokens, images):
        log_probs[:, UNK] = -numpy.inf


class NoRepeatedNgrams:
    """Lets no n-gram occur twice in a caption (Paulus et al., arXiv:1705.04304)."""

    def __init__(self, n):
        self.n = n

    def __call__(self, log_probs, tokens, images):
        xp = chainer.backend.get_array_module(log_probs)
        n_captions, length = tokens.shape
        n_ngrams = length - self.n + 1
        if n_ngrams < 1:
            return
        # Whether the last n - 1 tokens are the first ones of each earlier n-gram.
        would_repeat = xp.ones((n_captions, n_ngrams), bool)
        for k in range(self.n - 1):
            would_repeat &= tokens[:, k : k + n_ngrams] == tokens[:, n_ngrams + k, None]
        changes = xp.where(would_repeat, -xp.inf, 0).astype(log_probs.dtype)
        last_tokens = tokens[:, self.n - 1 :]
        xp.add.at(log_probs, (xp.arange(n_captions)[:, None], last_tokens), changes)
