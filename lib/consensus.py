"""Choosing, of an image's sentences, the one that captions drawn at random agree with most."""

import math
from collections import Counter, defaultdict

from lib.sampling import sample
from lib.vocabulary import UNKNOWN

import numpy
from scipy import sparse

LONGEST_NGRAM = 4
# How many words longer or shorter a caption may well be, as in CIDEr-D.
LENGTH_DEVIATION = 6
# Of words too rare for the vocabulary.
UNKNOWN_RANK = 10000
# Captions drawn at a time, so that their probabilities do not fill the memory.
DRAWN_AT_ONCE = 4096


def rank_by_consensus(model, features, sentences, n_drawn, temperature=1.0, max_length=60):
    """Ranks the sentences of each image by what captions drawn from the model say.

    This is minimum Bayes risk decoding (Kumar and Byrne, *Minimum Bayes-Risk Decoding for
    Statistical Machine Translation*, 2004): the sentence comes first whose expected score is the
    highest if the right caption is what the model believes it to be.

    Args:
        model: As :func:`lib.beam_search.beam_search` takes it.
        features (array): Image features, (B, D), float.
        sentences (list of list of lib.beam_search.Sentence): For each image those to rank.
        n_drawn (int): Captions to draw for each image.
        temperature (float): See :func:`lib.sampling.sample`, which draws them.
        max_length (int): Most words of a drawn caption.

    Returns:
        list of list of lib.beam_search.Sentence: The same, the highest score first; sentences
        alike in it stay in order.
    """
    ranked, n_images = [], max(1, DRAWN_AT_ONCE // n_drawn)
    for start in range(0, len(sentences), n_images):
        block = slice(start, start + n_images)
        for found, drawn in zip(sentences[block], sample(
                model, features[block], n_drawn, temperature, max_length)):
            scores = mean_cider([sentence.tokens for sentence in found],
                                [sentence.tokens for sentence in drawn])
            ranked.append([found[place] for place in numpy.argsort(-scores, kind='stable')])
    return ranked


def mean_cider(candidates, references):
    """Returns the mean CIDEr-D of sentences against references, less its constant factor.

    CIDEr-D (Vedantam et al., *CIDEr*, CVPR 2015) weighs n-grams by how rare they are among
    images. Here the weight of an n-gram is the sum over its words of the logarithm of their
    rank in the vocabulary, which by Zipf's law is nearly that, and nothing but the sentences
    need be known. An n-gram with ``<UNK>``, whose word is not known, equals no other.

    Args:
        candidates (list of list of int): Sentences, as tokens of a vocabulary that has its most
            frequent words first.
        references (list of list of int): What they are compared with, at least one.

    Returns:
        array: One score per candidate, in [0, 1], float64.
    """
    column_of = defaultdict(lambda: len(column_of))
    weights, _ = _vectors(candidates, column_of)
    reference_weights, counts = _vectors(references, column_of)
    for matrix in weights, reference_weights, counts:
        matrix.resize(matrix.shape[0], len(column_of))
    similarities = (weights @ reference_weights.multiply(counts).T).toarray() / LONGEST_NGRAM
    longer = numpy.subtract.outer([len(tokens) for tokens in candidates],
                                  [len(tokens) for tokens in references])
    return (similarities * numpy.exp(-(longer / LENGTH_DEVIATION) ** 2 / 2)).mean(axis=1)


def _vectors(sentences, column_of):
    """Turns sentences into sparse matrices.

    A column stands for the first, second, ... occurrence of an n-gram in a sentence, so that
    two sentences share as many columns as the smaller count, which CIDEr-D asks for.

    Returns:
        tuple of scipy.sparse.csr_matrix: The weights, divided by the length of the vector of
        the sentence's n-grams of this n; and how often the n-gram is in the sentence.
    """
    columns, weights, counts, ends = [], [], [], [0]
    for tokens in sentences:
        for n in range(1, LONGEST_NGRAM + 1):
            ngrams = Counter(tuple(tokens[start:start + n])
                             for start in range(len(tokens) - n + 1))
            weight_of = {ngram: sum(map(_rarity, ngram)) for ngram in ngrams}
            norm = math.sqrt(sum((count * weight_of[ngram]) ** 2
                                 for ngram, count in ngrams.items())) or 1
            for ngram, count in ngrams.items():
                if UNKNOWN in ngram:
                    continue
                columns += [column_of[ngram, number] for number in range(count)]
                weights += [weight_of[ngram] / norm] * count
                counts += [count] * count
        ends.append(len(columns))
    shape = len(sentences), len(column_of)
    return tuple(sparse.csr_matrix((values, columns, ends), shape) for values in (weights, counts))


def _rarity(token):
    """The logarithm of a word's rank; 0 for the most frequent word."""
    return math.log(UNKNOWN_RANK if token == UNKNOWN else max(1, token - UNKNOWN))
