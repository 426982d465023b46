"""The embedding of captions, against one that is computed n-gram by n-gram."""

import itertools
import math
from collections import Counter

import numpy
import pytest
from hypothesis import given, settings, strategies

from lib.decoding.neighbor_space import embed_captions


def plain_products(captions_of_images):
    """Returns the products of the images' tf-idf vectors, computed one n-gram after the other."""
    ngrams = [
        Counter(itertools.chain(*({*c, *itertools.pairwise(c)} for c in captions)))
        for captions in captions_of_images
    ]
    n_images = Counter(itertools.chain(*ngrams))
    n_needed = min(5, max((n for n in n_images.values() if n < len(ngrams)), default=0))
    vectors = [
        {
            ngram: math.log1p(count) * math.log(len(ngrams) / n_images[ngram])
            for ngram, count in counts.items()
            if n_images[ngram] >= n_needed
        }
        for counts in ngrams
    ]
    norms = [math.hypot(*vector.values()) or 1 for vector in vectors]

    def product(a, b):
        return sum(value * b.get(ngram, 0) for ngram, value in a.items())

    return [
        [product(a, b) / norm / other for b, other in zip(vectors, norms)]
        for a, norm in zip(vectors, norms)
    ]


def flat(captions_of_images):
    """Returns captions of images as an index has them."""
    captions = list(itertools.chain(*captions_of_images))
    return (
        numpy.array([token for caption in captions for token in caption], 'int32'),
        numpy.cumsum([0, *map(len, captions)]),
        numpy.cumsum([0, *map(len, captions_of_images)]),
    )


@settings(max_examples=50)
@given(
    strategies.lists(
        strategies.lists(
            strategies.lists(strategies.sampled_from([2, 3, 4, 60_000]), min_size=1, max_size=6),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=12,
    )
)
def test_captions_are_embedded_by_their_ngrams(captions):
    embedded = embed_captions(*flat(captions))
    numpy.testing.assert_allclose(embedded @ embedded.T, plain_products(captions), atol=1e-9)


@pytest.mark.parametrize('n_images', [1, 5, 400])
def test_captions_that_are_all_alike_have_no_topics(n_images):
    captions = [[list(range(3, 403))]] * n_images  # of more n-grams than there are topics
    assert embed_captions(*flat(captions)).shape == (n_images, 0)
