import collections
import math

import numpy
import pytest

from lib.decoding.beam_search import beam_search
from lib.decoding.constraints import MinimumLength, NoRepeatedNgrams
from lib.decoding.sampling import sample
from tests.helpers.samples import random_features, small_model


def test_captions_are_drawn_with_their_probability(device):
    network = small_model(words=('a', 'b')).network.to_device(device)
    feature = device.send(random_features(1))
    numpy.random.seed(0)
    n = 20000 if device.xp is numpy else 8000
    (samples,) = sample(network, feature, n, max_length=3)
    counts = collections.Counter(tuple(caption.tokens) for caption in samples)
    (all_captions,) = beam_search(network, feature, 500, 500, 3)
    log_prob_of = {tuple(caption.tokens): caption.log_prob for caption in all_captions}
    assert set(counts) <= set(log_prob_of)
    for tokens, log_prob in log_prob_of.items():
        p = math.exp(log_prob)
        five_deviations = 5 * math.sqrt(n * p * (1 - p))
        assert counts[tokens] == pytest.approx(n * p, abs=five_deviations + 1)
    for caption in samples[:100]:
        assert caption.log_prob == pytest.approx(log_prob_of[tuple(caption.tokens)], abs=1e-4)


def test_a_low_temperature_draws_the_most_probable_tokens(device):
    network, features = small_model().network.to_device(device), device.send(random_features(6))
    results = sample(network, features, 3, temperature=1e-4)
    for samples, greedy in zip(results, beam_search(network, features, beam_width=1)):
        assert [caption.tokens for caption in samples] == [greedy[0].tokens] * 3


def test_samples_meet_constraints_and_are_sorted_by_log_probability(device):
    network, features = small_model().network.to_device(device), device.send(random_features(4))
    results = sample(network, features, 10, 2.0, 8, [MinimumLength(3)])
    for samples in results:
        assert all(3 <= len(caption.tokens) <= 8 for caption in samples)
        log_probs = [caption.log_prob for caption in samples]
        assert log_probs == sorted(log_probs, reverse=True)
    assert len({tuple(caption.tokens) for caption in results[0]}) > 1


def test_constraints_are_given_the_tokens_of_each_caption(device):
    network, features = small_model().network.to_device(device), device.send(random_features(4))
    for samples in sample(network, features, 40, 3.0, 6, [NoRepeatedNgrams(1)]):
        assert all(len(set(caption.tokens)) == len(caption.tokens) for caption in samples)
        assert len({tuple(caption.tokens) for caption in samples}) > 5
