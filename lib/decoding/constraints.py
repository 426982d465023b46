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
# Cost of a bad ending or a repetition, in nats: so much that it occurs only if nothing else is
# allowed. Then a caption that has one is better than none.
PENALTY = 10_000
# Tokens of a repetition, at most: shorter limits let greedy search run on ("and a woman in a black
# shirt and a woman in a black shirt").
MAX_REPEATED = 10


def has_bad_ending(tokens: list[str], bad_endings) -> bool:
    """Returns whether the last token of a caption is a bad ending.

    Args:
        tokens (list of str): The caption.
        bad_endings (set of str): The tokens with which hardly any training caption ends.

    Example:
        >>> has_bad_ending('a dog in front of a'.split(), {'a', 'of'})
        True
    """
    return bool(tokens) and tokens[-1] in bad_endings


def has_repetition(tokens: list[str]) -> bool:
    """Returns whether a caption says up to ten words twice in a row.

    A word before and after "and" or "or" is a repetition, too.

    Example:
        >>> has_repetition('a dog dog is running'.split())
        True
        >>> has_repetition('a white and white dog'.split())
        True
        >>> has_repetition('a black and white dog'.split())
        False
    """
    for n in range(1, MAX_REPEATED + 1):
        for start in range(len(tokens) - n):
            if tokens[start : start + n] == tokens[start + n : start + 2 * n]:
                return True
    return any(
        first == last and between in CONJUNCTIONS
        for first, between, last in zip(tokens, tokens[1:], tokens[2:])
    )


def make_constraints(ensemble, options):
    """Returns the constraints that models and options call for.

    Args:
        ensemble (lib.decoding.ensemble.Ensemble): The models.
        options (lib.decoding.options.DecodingOptions): The options.

    Returns:
        list of callable: The constraints.
    """
    vocabulary = ensemble.vocabulary
    constraints = []
    if options.min_length:
        constraints.append(MinimumLength(options.min_length))
    if options.forbid_unknown:
        constraints.append(NoUnknown())
    if options.no_repeat_ngram:
        constraints.append(NoRepeatedNgrams(options.no_repeat_ngram))
    if not options.bad_endings and len(ensemble.bad_endings):
        constraints.append(NoBadEndings(ensemble.is_bad_ending))
    if not options.repetitions and vocabulary.tokenizer == 'words':  # characters may be doubled
        indices = vocabulary.encode(CONJUNCTIONS)
        constraints.append(NoRepetitions([-1 if index == UNK else index for index in indices]))
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


class NoBadEndings:
    """Lets no caption end with a token with which hardly any training caption ends.

    Args:
        is_bad_ending (array): Whether each token is one, (V,), bool, on the device of the
            log-probabilities.
    """

    def __init__(self, is_bad_ending):
        self._is_bad_ending = is_bad_ending

    def __call__(self, log_probs, tokens, images):
        if not tokens.shape[1]:
            return
        if not isinstance(tokens, numpy.ndarray):
            _launch_for_each_caption('penalize_bad_endings', log_probs, tokens, self._is_bad_ending)
            return
        log_probs[self._is_bad_ending[tokens[:, -1]], EOS] -= PENALTY


class NoRepetitions:
    """Lets captions say nothing twice in a row, see :func:`has_repetition`.

    Args:
        conjunctions (sequence of int): The two tokens of ``CONJUNCTIONS``; -1 for one that the
            vocabulary does not have.
    """

    def __init__(self, conjunctions):
        self._conjunctions = conjunctions

    def __call__(self, log_probs, tokens, images):
        n_captions, length = tokens.shape
        if not isinstance(tokens, numpy.ndarray):
            arguments = MAX_REPEATED, *self._conjunctions
            _launch_for_each_caption('penalize_repetitions', log_probs, tokens, *arguments)
            return
        rows = numpy.arange(n_captions)
        for n in range(1, min(MAX_REPEATED, (length + 1) // 2) + 1):
            # The next token would complete the second of two equal sequences of n tokens.
            would_repeat = (tokens[:, length - n + 1 :] == tokens[:, -2 * n + 1 : -n]).all(axis=1)
            log_probs[rows[would_repeat], tokens[would_repeat, -n]] -= PENALTY
        if length > 1:
            follows = numpy.isin(tokens[:, -1], self._conjunctions)
            log_probs[rows[follows], tokens[follows, -2]] -= PENALTY


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
        float(PENALTY),
        *arguments,
    )
