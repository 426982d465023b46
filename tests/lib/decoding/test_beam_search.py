import itertools
import math

import numpy
import pytest

from lib.captions.vocabulary import BOS, EOS, UNK
from lib.decoding.beam_search import beam_search
from tests.helpers.assertions import assert_same_captions
from tests.helpers.plain_beam_search import plain_beam_search
from tests.helpers.samples import random_features, small_model


@pytest.mark.parametrize(
    'beam_width, top, max_length',
    [(1, 1, 20), (3, 1, 12), (3, 3, 12), (5, 2, 4), (20, 5, 15), (30, 30, 3), (4, 4, 1)],
)
@pytest.mark.parametrize('seed', range(3))
def test_equals_plain_beam_search(device, beam_width, top, max_length, seed):
    network = small_model(seed=seed).network
    features = random_features(6)
    results = beam_search(
        network.copy('copy').to_device(device),
        device.send(features),
        *(beam_width, top, max_length),
    )
    assert len(results) == 6
    for feature, captions in zip(features, results):
        assert_same_captions(
            captions, plain_beam_search(network, feature, beam_width, top, max_length)
        )


@pytest.mark.parametrize('n_words', [130, 700])
@pytest.mark.parametrize('beam_width, power', [(3, 0), (20, 0), (20, 1)])
def test_many_tokens_equal_plain_beam_search(device, n_words, beam_width, power):
    """More than the GPU's kernel searches at a time."""
    network = small_model(words=map(str, range(n_words))).network
    features = random_features(2)
    results = beam_search(
        network.copy('copy').to_device(device),
        device.send(features),
        *(beam_width, beam_width, 6, power),
    )
    for feature, captions in zip(features, results):
        assert_same_captions(
            captions, plain_beam_search(network, feature, beam_width, beam_width, 6, power)
        )


@pytest.mark.parametrize('power', [0.5, 1, 2])
@pytest.mark.parametrize('seed', range(3))
def test_length_normalization_equals_plain_beam_search(device, power, seed):
    network = small_model(seed=seed).network
    features = random_features(6)
    results = beam_search(
        network.copy('copy').to_device(device),
        device.send(features),
        *(5, 3, 10),
        length_normalization=power,
    )
    for feature, captions in zip(features, results):
        assert_same_captions(captions, plain_beam_search(network, feature, 5, 3, 10, power))


def test_captions_do_not_depend_on_the_batch(device):
    network = small_model().network.to_device(device)
    features = device.send(random_features(9))
    for feature, captions in zip(features, beam_search(network, features)):
        (captions_alone,) = beam_search(network, feature[None])
        assert_same_captions(captions, captions_alone)


def test_a_beam_wider_than_the_number_of_captions_finds_all_of_them(device):
    network = small_model(words=('a',)).network
    feature = random_features(1)
    (captions,) = beam_search(
        network.copy('copy').to_device(device),
        device.send(feature),
        beam_width=200,
        top=200,
        max_length=4,
    )

    def log_prob(tokens, is_finished):
        state, total = network.start(feature), 0
        targets = [*tokens, EOS] if is_finished else tokens
        for token, target in zip([BOS, *tokens], targets):
            log_probs, state = network.step(numpy.array([token], 'int32'), state)
            total += log_probs[0, target]
        return total

    vocabulary = [UNK, 3]
    expected = [
        log_prob(tokens, True)
        for length in range(4)
        for tokens in itertools.product(vocabulary, repeat=length)
    ]
    expected += [log_prob(tokens, False) for tokens in itertools.product(vocabulary, repeat=4)]
    numpy.testing.assert_allclose(
        [caption.log_prob for caption in captions], sorted(expected, reverse=True), atol=1e-4
    )
    # Every caption has either ended or been cut off after four tokens.
    assert sum(math.exp(caption.log_prob) for caption in captions) == pytest.approx(1, abs=1e-4)


def test_no_images_have_no_captions(device):
    network = small_model().network.to_device(device)
    assert beam_search(network, device.send(random_features(0))) == []


@pytest.mark.parametrize('value', [numpy.nan, numpy.inf, -1e38])
def test_a_diverged_network_still_gives_every_image_a_caption(device, value):
    network = small_model().network.to_device(device)
    network.output.W.array[:] = value
    with numpy.errstate(all='ignore'):
        for captions in beam_search(network, device.send(random_features(2))):
            assert captions
