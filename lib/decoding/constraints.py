"""What beam search and sampling can be made to avoid.

A constraint is called with the log-probabilities of the next token of n unfinished captions,
(n, V), which it lowers in place; with the tokens of these captions so far, (n, length); and
with the image that each describes, (n,).
"""

import numpy
from chainer.backends import cuda

from lib.captions.vocabulary import EOS, UNK
from models.fast.kernels import launch, load_kernel

SOURCE = 'lib/decoding/constraints.cu'


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
        n_captions, length = tokens.shape
        if not isinstance(tokens, numpy.ndarray):
            launch(
                load_kernel(SOURCE, 'forbid_repeated_ngrams', T=log_probs.dtype),
                (n_captions, max(0, length - self.n + 1)),
                log_probs,
                cuda.cupy.ascontiguousarray(tokens),
                length,
                log_probs.shape[1],
                self.n,
            )
            return
        prefix = tokens[:, length - self.n + 1 :]
        for start in range(length - self.n + 1):
            end = start + self.n - 1
            # Forbid the token that followed an earlier occurrence of the prefix.
            rows = numpy.nonzero((tokens[:, start:end] == prefix).all(axis=1))[0]
            log_probs[rows, tokens[rows, end]] = -numpy.inf
