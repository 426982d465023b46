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
# Words that may stand between two equal ones in "a white and white dog".
CONJUNCTIONS = 'and', 'or'
# What a fault costs, in nats: so much that it occurs only if nothing else is allowed. Then a
# caption with a fault is better than none.
FAULT_PENALTY = 10_000
# Tokens that are not to be said twice in a row, at most: shorter limits let greedy search run on
# ("and a woman in a black shirt and a woman in a black shirt").
MAX_STUTTER = 10


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


class KnownEndings:
    """Lets captions end with no token with which people's captions do not end.

    Args:
        never_last (array): Whether captions do not end with a token, (V,), bool, on the device of
            the log-probabilities.
    """

    def __init__(self, never_last):
        self._never_last = never_last

    def __call__(self, log_probs, tokens, images):
        if not tokens.shape[1]:
            return
        if not isinstance(tokens, numpy.ndarray):
            _launch_for_each_caption('penalize_endings', log_probs, tokens, self._never_last)
            return
        log_probs[self._never_last[tokens[:, -1]], EOS] -= FAULT_PENALTY


class NoStutter:
    """Lets captions say nothing twice in a row, see :func:`lib.evaluation.faults.stutters`.

    Args:
        conjunctions (sequence of int): The two tokens of ``CONJUNCTIONS``; -1 for one that the
            vocabulary does not have.
    """

    def __init__(self, conjunctions):
        self._conjunctions = conjunctions

    def __call__(self, log_probs, tokens, images):
        n_captions, length = tokens.shape
        if not isinstance(tokens, numpy.ndarray):
            arguments = MAX_STUTTER, *self._conjunctions
            _launch_for_each_caption('penalize_stutter', log_probs, tokens, *arguments)
            return
        rows = numpy.arange(n_captions)
        for n in range(1, min(MAX_STUTTER, (length + 1) // 2) + 1):
            # The next token would complete the second of two equal sequences of n tokens.
            would_repeat = (tokens[:, length - n + 1 :] == tokens[:, -2 * n + 1 : -n]).all(axis=1)
            log_probs[rows[would_repeat], tokens[would_repeat, -n]] -= FAULT_PENALTY
        if length > 1:
            follows = numpy.isin(tokens[:, -1], self._conjunctions)
            log_probs[rows[follows], tokens[follows, -2]] -= FAULT_PENALTY


def fault_constraints(ensemble, options):
    """Returns the constraints that keep captions from being cut off and from stuttering.

    Args:
        ensemble (lib.decoding.ensemble.Ensemble): The models.
        options (lib.decoding.decode.DecodingOptions): Which faults to allow.
    """
    constraints, vocabulary = [], ensemble.vocabulary
    if not options.bad_endings and ensemble.never_last is not None:
        constraints.append(KnownEndings(ensemble.never_last))
    if not options.stutter and vocabulary.tokenizer == 'words':  # characters may be doubled
        indices = vocabulary.encode(CONJUNCTIONS)
        constraints.append(NoStutter([-1 if index == UNK else index for index in indices]))
    return constraints


def _launch_for_each_caption(name, log_probs, tokens, *arguments):
    n_captions, length = tokens.shape
    launch(
        load_kernel(SOURCE, name, T=log_probs.dtype),
        (1, n_captions),
        log_probs,
        cuda.cupy.ascontiguousarray(tokens),
        n_captions,
        length,
        log_probs.shape[1],
        float(FAULT_PENALTY),
        *arguments,
    )
