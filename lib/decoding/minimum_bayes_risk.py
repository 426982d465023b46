"""Minimum Bayes risk: the caption that other probable captions resemble most."""

import math
from collections import Counter, defaultdict

import numpy
from scipy import sparse

from lib.captions.vocabulary import UNK
from lib.decoding.caption import Caption
from lib.decoding.sampling import sample

MAX_N = 4
# Standard deviation, in tokens, of the Gaussian length penalty, as in CIDEr-D.
LENGTH_DEVIATION = 6
# Rank assumed for <UNK>, whose words are too rare for the vocabulary.
UNK_RANK = 10000
# Captions drawn at a time, which bounds the memory that their probabilities need.
SAMPLES_AT_ONCE = 4096


def mbr_rerank(
    model,
    features,
    captions: list[list[Caption]],
    n_samples: int,
    temperature: float = 1.0,
    max_length: int = 60,
) -> list[list[Caption]]:
    """Ranks captions by their expected CIDEr-D against captions drawn from the model.

    This is minimum Bayes risk decoding (Kumar and Byrne, *Minimum Bayes-Risk Decoding for
    Statistical Machine Translation*, 2004) with CIDEr-D as the gain: the model's samples
    stand for what people would write.

    Args:
        model: As for :func:`lib.decoding.beam_search.beam_search`.
        features (array): Image features, (B, D), float.
        captions (list of list of Caption): The captions of each image to rank.
        n_samples (int): Captions to draw for each image.
        temperature, max_length: As for :func:`lib.decoding.sampling.sample`.

    Returns:
        list of list of Caption: The same captions, highest expectation first; captions with
        equal expectations stay in order.
    """
    reranked, n_images = [], max(1, SAMPLES_AT_ONCE // n_samples)
    for start in range(0, len(captions), n_images):
        block = slice(start, start + n_images)
        samples = sample(model, features[block], n_samples, temperature, max_length)
        for candidates, references in zip(captions[block], samples):
            expectations = expected_cider(
                [caption.tokens for caption in candidates],
                [caption.tokens for caption in references],
            )
            order = numpy.argsort(-expectations, kind='stable')
            reranked.append([candidates[index] for index in order])
    return reranked


def expected_cider(candidates: list[list[int]], references: list[list[int]]) -> numpy.ndarray:
    """Returns the mean CIDEr-D of captions against references, in [0, 1].

    CIDEr-D (Vedantam et al., *CIDEr*, CVPR 2015) weighs n-grams by how rare they are among
    images. Here the weight of an n-gram is the sum of the logarithms of its tokens' ranks in
    the vocabulary: nearly the same by Zipf's law, and no corpus is needed. An n-gram with
    ``<UNK>`` matches no other, since its word is not known. The factor 10 is left out.

    Args:
        candidates (list of list of int): Captions, as tokens of a vocabulary that is sorted
            by frequency.
        references (list of list of int): What to compare them with, at least one.

    Returns:
        array: One value per candidate, (n,), float64.
    """
    column_of = defaultdict(lambda: len(column_of))
    candidate_rows = [_tfidf_row(tokens, column_of) for tokens in candidates]
    # CIDEr-D multiplies the smaller of both counts with the reference's count.
    reference_rows = [_tfidf_row(tokens, column_of, times_count=True) for tokens in references]
    candidate_matrix = _sparse_matrix(candidate_rows, len(column_of))
    reference_matrix = _sparse_matrix(reference_rows, len(column_of))
    similarities = (candidate_matrix @ reference_matrix.T).toarray() / MAX_N
    length_differences = numpy.subtract.outer(
        [len(tokens) for tokens in candidates], [len(tokens) for tokens in references]
    )
    penalties = numpy.exp(-((length_differences / LENGTH_DEVIATION) ** 2) / 2)
    return (similarities * penalties).mean(axis=1)


def _tfidf_row(tokens, column_of, times_count=False):
    """Returns the columns and values of a caption's n-grams, normalized for each n.

    A column stands for the first, second, ... occurrence of an n-gram in a caption, so that
    the number of columns two captions share is the smaller of both counts.
    """
    columns, values = [], []
    for n in range(1, MAX_N + 1):
        counts = Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))
        weight_of = {ngram: sum(map(_rarity, ngram)) for ngram in counts}
        norm = math.sqrt(sum((count * weight_of[ngram]) ** 2 for ngram, count in counts.items()))
        for ngram, count in counts.items():
            if norm and UNK not in ngram:
                value = weight_of[ngram] / norm * (count if times_count else 1)
                columns += [column_of[ngram, occurrence] for occurrence in range(count)]
                values += [value] * count
    return columns, values


def _rarity(token):
    """The logarithm of a token's rank; 0 for the most frequent one."""
    return math.log(UNK_RANK if token == UNK else max(1, token - UNK))


def _sparse_matrix(rows, n_columns):
    columns = [column for row, _ in rows for column in row]
    values = [value for _, row in rows for value in row]
    ends = numpy.cumsum([0, *(len(row) for row, _ in rows)])
    return sparse.csr_matrix((values, columns, ends), (len(rows), n_columns))
