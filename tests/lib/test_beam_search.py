import itertools
import math

from lib.beam_search import beam_search
from tests.lib.plain_beam_search import plain_beam_search
from tests.samples import small_model

import numpy
import pytest


def make_features(n, size=8, seed=3):
    return numpy.random.RandomState(seed).randn(n, size).astype('float32')


def assert_same(actual, expected):
    assert [sentence.tokens for sentence in actual] == [sentence.tokens for sentence in expected]
    numpy.testing.assert_allclose([sentence.log_prob for sentence in actual],
                                  [sentence.log_prob for sentence in expected], atol=1e-4)


@pytest.mark.parametrize('beam_width, top, max_length', [
    (1, 1, 20), (3, 1, 12), (3, 3, 12), (5, 2, 4), (20, 5, 15), (30, 30, 3), (4, 4, 1)])
@pytest.mark.parametrize('seed', range(3))
def test_equals_the_plain_search(beam_width, top, max_length, seed):
    model = small_model(seed=seed).network
    features = make_features(6)
    results = beam_search(model, features, beam_width, top, max_length)
    assert len(results) == 6
    for feature, sentences in zip(features, results):
        assert_same(sentences, plain_beam_search(model, feature, beam_width, top, max_length))


@pytest.mark.parametrize('power', [0.5, 1, 2])
@pytest.mark.parametrize('seed', range(3))
def test_length_normalization_equals_the_plain_search(power, seed):
    model = small_model(seed=seed).network
    features = make_features(6)
    results = beam_search(model, features, 5, 3, 10, length_normalization=power)
    for feature, sentences in zip(features, results):
        assert_same(sentences, plain_beam_search(model, feature, 5, 3, 10, power))


def test_a_sentence_scores_the_same_whatever_the_batch():
    model = small_model().network
    features = make_features(9)
    together = beam_search(model, features)
    for feature, sentences in zip(features, together):
        alone, = beam_search(model, feature[None])
        assert_same(sentences, alone)


def test_a_beam_wider_than_all_sentences_finds_the_best_of_all():
    model = small_model(words=('a',)).network
    feature = make_features(1)
    found, = beam_search(model, feature, beam_width=200, top=200, max_length=4)

    def log_prob(words, finished):
        state, total = model.start(feature), 0
        for word, next_word in zip([0, *words], [*words, 1] if finished else words):
            log_probs, state = model.step(numpy.array([word], 'int32'), state)
            total += log_probs[0, next_word]
        return total

    words = [0, 2, 3]
    expected = [log_prob(sentence, True) for n in range(4)
                for sentence in itertools.product(words, repeat=n)]
    expected += [log_prob(sentence, False) for sentence in itertools.product(words, repeat=4)]
    numpy.testing.assert_allclose([sentence.log_prob for sentence in found],
                                  sorted(expected, reverse=True), atol=1e-4)
    # Every sentence either ended or was cut: together they hold all the probability.
    assert sum(math.exp(sentence.log_prob) for sentence in found) == pytest.approx(1, abs=1e-4)


def test_no_images_give_no_captions():
    assert beam_search(small_model().network, make_features(0)) == []


@pytest.mark.parametrize('value', [numpy.nan, numpy.inf, -1e38])
def test_a_network_that_has_diverged_captions_nothing(value):
    network = small_model().network
    network.output.W.array[:] = value
    with numpy.errstate(all='ignore'):
        for sentences in beam_search(network, make_features(2)):
            assert sentences
