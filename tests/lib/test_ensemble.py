from lib.beam_search import beam_search
from lib.ensemble import Ensemble, load_models
from lib.errors import InputError
from lib.features import FeatureSource
from tests.lib.plain_beam_search import plain_beam_search
from tests.lib.test_beam_search import assert_same, make_features
from tests.samples import small_model

import chainer
import numpy
import pytest

CPU = chainer.get_device('@numpy')


def networks(*hidden_sizes):
    """Returns networks of these sizes, with 1, 2, 1, ... layers."""
    return [small_model(seed=seed, hidden_size=size, n_layers=1 + seed % 2).network
            for seed, size in enumerate(hidden_sizes)]


def test_averages_probabilities():
    members = networks(7, 5, 9)
    features, tokens = make_features(4), numpy.array([0, 3, 3, 4], 'int32')
    ensemble = Ensemble(members)
    log_probs, state = ensemble.step(tokens, ensemble.start(features))
    each = [network.step(tokens, network.start(features)) for network in members]
    numpy.testing.assert_allclose(
        numpy.exp(log_probs), numpy.mean([numpy.exp(part) for part, _ in each], axis=0), rtol=1e-5)
    numpy.testing.assert_allclose(numpy.exp(log_probs).sum(axis=1), 1, rtol=1e-5)
    assert [array.shape for array in state] == [(4, 7)] * 2 + [(4, 5)] * 4 + [(4, 9)] * 2


def test_one_model_or_the_same_one_twice_caption_as_it_does_alone():
    network, = networks(7)
    features = make_features(5)
    expected = beam_search(network, features)
    for members in [network], [network, network]:
        for sentences, alone in zip(beam_search(Ensemble(members), features), expected):
            assert_same(sentences, alone)


def test_searches_as_the_plain_search_does():
    ensemble = Ensemble(networks(7, 4))
    features = make_features(4)
    for feature, sentences in zip(features, beam_search(ensemble, features, 6, 4, 10)):
        assert_same(sentences, plain_beam_search(ensemble, feature, 6, 4, 10))


def test_loads_models_of_other_sizes(tmp_path):
    paths = [str(tmp_path / name) for name in ('a.h5', 'b.h5')]
    for path, size in zip(paths, (7, 5)):
        small_model(hidden_size=size).save(path)
    ensemble, first = load_models(paths, CPU)
    assert [network.hyperparameters['hidden_size'] for network in ensemble.networks] == [7, 5]
    assert first.vocabulary == small_model().vocabulary


@pytest.mark.parametrize('options, named', [
    ({'words': ('a', 'dog', 'cat', 'sits')}, 'words'), ({'feature_size': 9}, 'feature size'),
    ({'source': FeatureSource('net', 'fc7', 224, [0, 0, 0], 'warp')}, 'features')])
def test_models_that_do_not_belong_together_are_refused(tmp_path, options, named):
    small_model().save(tmp_path / 'a.h5')
    small_model(**options).save(tmp_path / 'b.h5')
    with pytest.raises(InputError, match=rf'b\.h5: .* other {named} than .*a\.h5'):
        load_models([str(tmp_path / 'a.h5'), str(tmp_path / 'b.h5')], CPU)
