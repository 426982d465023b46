import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.captions.vocabulary import UNK
from lib.decoding import minimum_bayes_risk
from lib.decoding.beam_search import beam_search
from lib.decoding.caption import Caption
from lib.decoding.minimum_bayes_risk import cider, mbr_rerank
from lib.decoding.neighbors import References
from lib.decoding.sampling import sample
from tests.helpers.samples import random_features, small_model

# Of two references; a weight may be negative.
WEIGHTS = [0.5, -0.2], [0.1, 0.3]
CAPTIONS = st.lists(st.lists(st.integers(UNK, 7), max_size=9), min_size=1, max_size=5)


def ngrams_of(tokens, n):
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def plain_cider(candidate, reference):
    """Returns the CIDEr-D of a caption against one reference, n-gram by n-gram."""
    total = 0
    for n in 1, 2, 3, 4:
        distinct = sorted(set(ngrams_of(candidate, n) + ngrams_of(reference, n)))
        weights = [
            sum(math.log(10000 if token == UNK else token - UNK) for token in ngram)
            for ngram in distinct
        ]
        a, b = (
            [ngrams_of(tokens, n).count(ngram) * weight for ngram, weight in zip(distinct, weights)]
            for tokens in (candidate, reference)
        )
        norm = math.hypot(*a) * math.hypot(*b)
        if norm:
            products = (min(x, y) * y for ngram, x, y in zip(distinct, a, b) if UNK not in ngram)
            total += sum(products) / norm / 4
    return total * math.exp(-((len(candidate) - len(reference)) ** 2) / (2 * 6**2))


@given(CAPTIONS, CAPTIONS)
def test_cider_equals_plain_cider(candidates, references):
    expected = [
        [plain_cider(candidate, reference) for reference in references] for candidate in candidates
    ]
    numpy.testing.assert_allclose(cider(candidates, references), expected, atol=1e-9)


def test_tokens_of_huge_vocabularies_are_told_apart():
    tokens = [[100_000 + n] * 4 for n in range(3)]
    scores = cider(tokens, tokens[:1])[:, 0]
    assert scores[0] == pytest.approx(1)
    assert (scores[1:] == 0).all()


def test_rare_tokens_weigh_more_and_unk_matches_nothing():
    frequent, rare = 4, 2000
    candidates = [[frequent, 5, 6, 7], [rare, 8, 9, 10], [UNK], [rare, UNK], [rare]]
    scores = cider(candidates, [[frequent, rare, UNK]])[:, 0]
    assert 0 == scores[2] < scores[0] < scores[1]
    assert scores[3] < scores[4]


def test_captions_are_ranked_by_weighted_references():
    captions = [Caption(tokens, 0) for tokens in ([4, 5, 6], [7, 8, 9])]
    references = [References([[4, 5, 6], [7, 8, 9]], numpy.array(weights)) for weights in WEIGHTS]
    first, second = mbr_rerank(None, None, [captions] * 2, 0, references=references)
    assert first == captions
    assert second == captions[::-1]


@pytest.mark.parametrize('images_at_once', [1, 2, 5])
def test_captions_are_ranked_by_expected_cider_against_samples(device, monkeypatch, images_at_once):
    monkeypatch.setattr(minimum_bayes_risk, 'SAMPLES_AT_ONCE', 30 * images_at_once)
    network = small_model(words=('a', 'dog', 'cat', 'runs', 'home')).network.to_device(device)
    features = device.send(random_features(5))
    beams = beam_search(network, features, 6, 6, max_length=8)
    numpy.random.seed(4)
    results = mbr_rerank(network, features, beams, 30, 0.7, 8)
    numpy.random.seed(4)
    samples = [
        captions
        for start in range(0, 5, images_at_once)
        for captions in sample(network, features[start : start + images_at_once], 30, 0.7, 8)
    ]
    for beam, reranked, references in zip(beams, results, samples, strict=True):
        reference_tokens = [caption.tokens for caption in references]
        scores = [cider([caption.tokens], reference_tokens).mean() for caption in reranked]
        assert scores == sorted(scores, reverse=True)
        assert sorted(map(repr, reranked)) == sorted(map(repr, beam))
    assert results != beams


def test_captions_with_equal_scores_stay_in_order(device):
    network, feature = small_model().network.to_device(device), device.send(random_features(1))
    captions = [Caption([3] * length, -length) for length in range(4)]
    assert mbr_rerank(network, feature, [captions], 5, max_length=3) == [captions]
