import math

import numpy
import pytest

from lib.captions.vocabulary import BOS, EOS
from lib.decoding.beam_search import beam_search
from lib.decoding.caption import Caption
from lib.decoding.ensemble import Ensemble
from lib.decoding.rescoring import rescore
from tests.helpers.assertions import assert_same_captions
from tests.helpers.samples import random_features, small_model

MAX_LENGTH = 5


@pytest.fixture
def network(device):
    return small_model(seed=2).network.to_device(device)


@pytest.fixture
def features(device):
    return device.send(random_features(4))


def plain_log_prob(network, feature, tokens):
    """Returns the log-probability of one caption, token by token."""
    state, total, last = network.start(feature[None]), 0, BOS
    for token in tokens:
        log_probs, state = network.step(network.device.xp.array([last], 'int32'), state)
        total += float(log_probs[0, token])
        last = token
    return total


def test_a_model_gives_captions_that_it_found_the_same_log_probabilities(network, features):
    captions = beam_search(network, features, 6, 6, MAX_LENGTH)
    lengths = {len(caption.tokens) for best in captions for caption in best}
    assert len(lengths) > 1 and max(lengths) == MAX_LENGTH  # which have no </S>
    for actual, expected in zip(rescore(network, features, captions, MAX_LENGTH), captions):
        assert_same_captions(actual, expected, atol=1e-5)


def test_captions_of_another_model_get_plain_log_probabilities(network, features):
    captions = [
        [Caption([3, 4], -1.0), Caption([], -2.0)],
        [Caption([5, 3, 3, 4, 6], -3.0)],
        [],
        [Caption([4], -1.0)],
    ]
    rescored = rescore(network, features, captions, MAX_LENGTH)
    assert [len(best) for best in rescored] == [2, 1, 0, 1]
    for feature, best, before in zip(features, rescored, captions):
        assert [caption.tokens for caption in best] == [caption.tokens for caption in before]
        for caption in best:
            tokens = [*caption.tokens, EOS][:MAX_LENGTH]
            expected = plain_log_prob(network, feature, tokens)
            assert caption.log_prob == pytest.approx(expected, rel=1e-5)


def test_an_ensemble_gives_the_mean_of_the_probabilities(device, features):
    models = [small_model(seed=seed, hidden_size=5 + seed, n_layers=1 + seed) for seed in (0, 1)]
    for model in models:
        model.network.to_device(device)
    ensemble = Ensemble(models)
    captions = beam_search(models[0].network, features, 6, 6, MAX_LENGTH)
    for feature, best in zip(features, rescore(ensemble, features, captions, MAX_LENGTH)):
        for caption in best:
            tokens = [*caption.tokens, EOS][:MAX_LENGTH]
            expected = plain_log_prob(ensemble, feature, tokens)
            assert caption.log_prob == pytest.approx(expected, rel=1e-5)


def test_log_probabilities_that_are_not_finite_are_kept(network, features):
    captions = [[Caption([3], -1.0), Caption([], -math.inf)]] * len(features)
    for possible, impossible in rescore(network, features, captions):
        assert -math.inf < possible.log_prob != -1
        assert impossible == Caption([], -math.inf)


@pytest.mark.parametrize('n_images', [0, 3])
def test_no_captions_have_no_log_probabilities(network, features, n_images):
    assert rescore(network, features[:n_images], [[]] * n_images) == [[]] * n_images


def test_captions_of_a_batch_do_not_influence_each_other(network, features):
    captions = beam_search(network, features, 6, 6, MAX_LENGTH)
    together = rescore(network, features, captions, MAX_LENGTH)
    for n, best in enumerate(captions):
        (alone,) = rescore(network, features[n : n + 1], [best], MAX_LENGTH)
        numpy.testing.assert_allclose(
            [caption.log_prob for caption in alone],
            [caption.log_prob for caption in together[n]],
            rtol=1e-5,
        )
