"""Choosing, of an image's sentences, the one that agrees most with the others."""

from collections import Counter

import numpy

LONGEST_NGRAM = 4


def by_consensus(sentences, temperature):
    """Ranks sentences by how much they have in common with all of them.

    This is minimum Bayes risk decoding (Kumar and Byrne, *Minimum Bayes-Risk Decoding for
    Statistical Machine Translation*, 2004). The gain of a sentence is its mean F1 score of
    n-grams, of 1 to 4 words, against every sentence, itself included, weighted by their
    probabilities to the power ``1 / temperature``.

    Args:
        sentences (list of lib.beam_search.Sentence): The beam of an image.
        temperature (float): Above 1, improbable sentences count more. Near 0 the most probable
            one wins.

    Returns:
        list of lib.beam_search.Sentence: The same, that with the largest gain first; sentences
        alike in it stay in order.
    """
    log_probs = numpy.array([sentence.log_prob for sentence in sentences])
    weights = numpy.exp((log_probs - log_probs.max()) / temperature)
    gains = _similarities([_ngrams(sentence.tokens) for sentence in sentences]) @ weights
    return [sentences[place] for place in numpy.argsort(-gains, kind='stable')]


def _ngrams(tokens):
    return Counter(tuple(tokens[start:start + n]) for n in range(1, LONGEST_NGRAM + 1)
                   for start in range(len(tokens) - n + 1))


def _similarities(ngrams):
    """Returns the F1 score of every pair of multisets, 1 on the diagonal."""
    similarities = numpy.eye(len(ngrams))
    for i, a in enumerate(ngrams):
        for j, b in enumerate(ngrams[:i]):
            similarities[i, j] = similarities[j, i] = _f1(a, b)
    return similarities


def _f1(a, b):
    total = a.total() + b.total()
    return 2 * (a & b).total() / total if total else 1
