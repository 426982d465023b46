"""Minimum Bayes risk: the caption that other probable captions resemble most."""

import itertools

import numpy
import scipy

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
    references: list | None = None,
) -> list[list[Caption]]:
    """Ranks captions by their expected CIDEr-D against what people might write.

    This is minimum Bayes risk decoding (Kumar and Byrne, *Minimum Bayes-Risk Decoding for
    Statistical Machine Translation*, 2004) with CIDEr-D as the gain. Captions drawn from the model
    stand for what people would write, or captions of similar images (Devlin et al., *Exploring
    Nearest Neighbor Approaches for Image Captioning*, arXiv:1505.04467), or the sum of both counts.

    Args:
        model: As for :func:`lib.decoding.beam_search.beam_search`.
        features (array): Image features, (B, D), float.
        captions (list of list of Caption): The captions of each image to rank.
        n_samples (int): Captions to draw for each image; 0 draws none.
        temperature, max_length: As for :func:`lib.decoding.sampling.sample`.
        references (list of lib.decoding.neighbors.References): Captions of images that are similar
            to each image; None if there are none.

    Returns:
        list of list of Caption: The same captions, highest expectation first; captions with
        equal expectations stay in order.
    """
    reranked = []
    n_images = max(1, SAMPLES_AT_ONCE // max(1, n_samples))
    for start in range(0, len(captions), n_images):
        block = slice(start, start + n_images)
        samples = [()] * len(captions[block])
        if n_samples:
            samples = sample(model, features[block], n_samples, temperature, max_length)
        for image, (candidates, drawn) in enumerate(zip(captions[block], samples), start):
            tokens = [caption.tokens for caption in candidates]
            expectations = 0
            if drawn:
                expectations += cider(tokens, [caption.tokens for caption in drawn]).mean(axis=1)
            if references is not None:
                of_neighbors, weights = references[image]
                expectations += cider(tokens, of_neighbors) @ weights
            order = numpy.argsort(-expectations, kind='stable')
            reranked.append([candidates[index] for index in order])
    return reranked


def zipf_rarity(ngrams):
    """Returns how rare n-grams are by Zipf's law: the sums of the logarithms of their ranks.

    This is nearly the logarithm of the inverse of their document frequency, and needs no corpus.

    Args:
        ngrams (array): Tokens of a vocabulary that is sorted by frequency, (m, n), int.

    Returns:
        array: (m,), float64; 0 for the most frequent token.
    """
    ranks = numpy.where(ngrams == UNK, UNK_RANK, numpy.maximum(1, ngrams - UNK))
    return numpy.log(ranks).sum(axis=1)


def cider(
    candidates: list[list[int]], references: list[list[int]], rarity=zipf_rarity
) -> numpy.ndarray:
    """Returns the CIDEr-D of captions against each of some references, in [0, 1].

    CIDEr-D (Vedantam et al., *CIDEr*, CVPR 2015) weighs n-grams by how rare they are among
    images. An n-gram with ``<UNK>`` matches no other, since its word is not known. The factor 10 is
    left out.

    Args:
        candidates (list of list of int): Captions, as tokens.
        references (list of list of int): What to compare them with, at least one.
        rarity (callable): Takes n-grams, (m, n), and returns the logarithms of their inverse
            document frequencies, or something like it, (m,).

    Returns:
        array: (candidates, references), float64.
    """
    captions = [*candidates, *references]
    lengths = numpy.array([len(tokens) for tokens in captions])
    tokens = numpy.fromiter(itertools.chain(*captions), 'int64', lengths.sum())
    similarities = sum(
        _ngram_similarities(tokens, lengths, len(candidates), n, rarity)
        for n in range(1, MAX_N + 1)
    )
    length_differences = numpy.subtract.outer(
        lengths[: len(candidates)], lengths[len(candidates) :]
    )
    penalties = numpy.exp(-((length_differences / LENGTH_DEVIATION) ** 2) / 2)
    return similarities / MAX_N * penalties


def _ngram_similarities(tokens, lengths, n_candidates, n, rarity):
    """Returns the cosines of the tf-idf vectors of n-grams, with clipped counts.

    Args:
        tokens (array): Those of all captions, candidates first, one after the other.
        lengths (array): The number of tokens of each caption.
        n_candidates (int): How many of the captions are candidates.
        n (int): Tokens of an n-gram.
        rarity (callable): As for :func:`cider`.

    Returns:
        array: (candidates, references), float64.
    """
    shape = n_candidates, len(lengths) - n_candidates
    n_ngrams = numpy.maximum(lengths - n + 1, 0)
    caption = numpy.repeat(numpy.arange(len(lengths)), n_ngrams)
    if not len(caption):
        return numpy.zeros(shape)
    ends = numpy.cumsum(n_ngrams)
    start = numpy.arange(len(caption)) + numpy.repeat(
        numpy.cumsum(lengths) - lengths - (ends - n_ngrams), n_ngrams
    )
    ngrams = tokens[start[:, None] + numpy.arange(n)]
    keys = ngrams @ (int(tokens.max()) + 1) ** numpy.arange(n)
    # Equal n-grams of a caption stand together, so that they can be counted.
    order = numpy.lexsort((keys, caption))
    ngrams, keys, caption = ngrams[order], keys[order], caption[order]
    is_first = numpy.append(True, (keys[1:] != keys[:-1]) | (caption[1:] != caption[:-1]))
    first = numpy.flatnonzero(is_first)
    count = numpy.diff(numpy.append(first, len(keys)))
    occurrence = numpy.arange(len(keys)) - numpy.repeat(first, count)
    count = numpy.repeat(count, count)
    # CIDEr-D multiplies the smaller of both counts with the reference's count. So a column stands
    # for the first, second, ... occurrence of an n-gram in a caption.
    weight = rarity(ngrams)
    norm = numpy.sqrt(numpy.bincount(caption, count * weight**2, len(lengths)))[caption]
    value = numpy.divide(weight, norm, out=numpy.zeros(len(keys)), where=norm > 0)
    value[(ngrams == UNK).any(axis=1)] = 0
    value[caption >= n_candidates] *= count[caption >= n_candidates]
    _, number = numpy.unique(keys, return_inverse=True)
    column = number * (occurrence.max() + 1) + occurrence
    matrix = scipy.sparse.csr_matrix((value, (caption, column)), (len(lengths), column.max() + 1))
    return (matrix[:n_candidates] @ matrix[n_candidates:].T).toarray()
