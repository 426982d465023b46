import chainer
import numpy
import pytest

from lib.decoding.beam_search import beam_search
from lib.decoding.ensemble import Ensemble
from lib.errors import InputError
from lib.features.feature_source import FeatureSource
from tests.helpers.assertions import assert_same_captions
from tests.helpers.plain_beam_search import plain_beam_search
from tests.helpers.samples import random_features, small_model

CPU = chainer.get_device('@numpy')
to_cpu = CPU.send
SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [0, 0, 0], 'warp')


def make_models(device, *hidden_sizes):
    """Returns models with these hidden sizes and alternately one and two layers."""
    models = [
        small_model(seed=seed, hidden_size=size, n_layers=1 + seed % 2)
        for seed, size in enumerate(hidden_sizes)
    ]
    for model in models:
        model.network.to_device(device)
    return models


def test_step_averages_probabilities(device):
    features, tokens = random_features(4), numpy.array([0, 3, 3, 4], 'int32')
    ensemble = Ensemble(make_models(device, 7, 5, 9))
    log_probs, state = ensemble.step(device.send(tokens), ensemble.start(device.send(features)))
    log_probs = to_cpu(log_probs)
    networks = [model.network for model in make_models(CPU, 7, 5, 9)]
    probs = [numpy.exp(network.step(tokens, network.start(features))[0]) for network in networks]
    numpy.testing.assert_allclose(numpy.exp(log_probs), numpy.mean(probs, axis=0), rtol=1e-5)
    numpy.testing.assert_allclose(numpy.exp(log_probs).sum(axis=1), 1, rtol=1e-5)
    for network_state, network in zip(state, networks, strict=True):
        expected = network.start(features)
        assert [a.shape for a in network_state] == [a.shape for a in expected]


@pytest.mark.parametrize('n_copies', [1, 2])
def test_copies_of_one_model_caption_like_that_model(device, n_copies):
    (model,) = make_models(device, 7)
    features = device.send(random_features(5))
    results = beam_search(Ensemble([model] * n_copies), features)
    for captions, expected in zip(results, beam_search(model.network, features)):
        assert_same_captions(captions, expected)


def test_beam_search_with_an_ensemble_equals_plain_beam_search(device):
    ensemble, plain_ensemble = (Ensemble(make_models(on, 7, 4)) for on in (device, CPU))
    features = random_features(4)
    results = beam_search(ensemble, device.send(features), 6, 4, 10)
    for feature, captions in zip(features, results):
        assert_same_captions(captions, plain_beam_search(plain_ensemble, feature, 6, 4, 10))


def test_loads_models_of_different_sizes(device, tmp_path):
    paths = [str(tmp_path / name) for name in ('a.h5', 'b.h5')]
    for path, size in zip(paths, (7, 5)):
        small_model(hidden_size=size, source=SOURCE).save(path)
    ensemble = Ensemble.load(paths, device)
    networks = [model.network for model in ensemble.models]
    assert [network.hyperparameters['hidden_size'] for network in networks] == [7, 5]
    assert [model.path for model in ensemble.models] == paths
    assert ensemble.vocabulary == small_model().vocabulary
    assert ensemble.feature_source == SOURCE
    assert ensemble.device == device


@pytest.mark.parametrize(
    'options, message',
    [
        ({'words': ('a', 'dog', 'cat', 'sits')}, r'b\.h5: .* another vocabulary than .*a\.h5'),
        ({'feature_size': 9}, r'b\.h5: .* another feature size than .*a\.h5'),
        ({'source': SOURCE}, r'b\.h5: .* another feature source than .*a\.h5'),
    ],
    ids=['vocabulary', 'feature size', 'feature source'],
)
def test_models_that_differ_in_vocabulary_or_features_are_rejected(tmp_path, options, message):
    paths = [str(tmp_path / name) for name in ('a.h5', 'b.h5')]
    small_model().save(paths[0])
    small_model(**options).save(paths[1])
    with pytest.raises(InputError, match=message):
        Ensemble.load(paths, CPU)
