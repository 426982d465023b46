import collections
import math

from lib.beam_search import beam_search
from lib.constraints import MinimumLength, NoRepeatedNgrams
from lib.sampling import sample
from tests.lib.test_beam_search import make_features
from tests.samples import small_model

import numpy
import pytest


def test_draws_captions_as_often_as_they_are_probable():
    model = small_model(words=('a', 'b')).network
    feature = make_features(1)
    numpy.random.seed(0)
    n = 20000
    drawn, = sample(model, feature, n, max_length=3)
    counts = collections.Counter(tuple(sentence.tokens) for sentence in drawn)
    everything, = beam_search(model, feature, 500, 500, 3)
    assert set(counts) <= {tuple(sentence.tokens) for sentence in everything}
    for sentence in everything:
        p = math.exp(sentence.log_prob)
        assert counts[tuple(sentence.tokens)] == pytest.approx(
            n * p, abs=5 * math.sqrt(n * p * (1 - p)) + 1)
    log_prob = {tuple(sentence.tokens): sentence.log_prob for sentence in everything}
    for sentence in drawn[:100]:
        assert sentence.log_prob == pytest.approx(log_prob[tuple(sentence.tokens)], abs=1e-4)


def test_a_low_temperature_draws_the_most_probable_words():
    model = small_model().network
    features = make_features(6)
    for drawn, greedy in zip(sample(model, features, 3, 1e-4), beam_search(model, features, 1)):
        assert [sentence.tokens for sentence in drawn] == [greedy[0].tokens] * 3


def test_keeps_constraints_and_order():
    model = small_model().network
    drawn = sample(model, make_features(4), 10, 2.0, 8, [MinimumLength(3)])
    for sentences in drawn:
        assert all(3 <= len(sentence.tokens) <= 8 for sentence in sentences)
        log_probs = [sentence.log_prob for sentence in sentences]
        assert log_probs == sorted(log_probs, reverse=True)
    assert len({tuple(sentence.tokens) for sentence in drawn[0]}) > 1


def test_constraints_see_the_words_of_each_caption():
    model = small_model().network
    for sentences in sample(model, make_features(4), 40, 3.0, 6, [NoRepeatedNgrams(1)]):
        assert all(len(set(tokens)) == len(tokens) for tokens, _ in sentences)
        assert len({tuple(tokens) for tokens, _ in sentences}) > 5
