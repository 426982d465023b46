import dataclasses

import chainer
import numpy
import pytest

from lib.decoding.beam_search import beam_search
from lib.decoding.diverse_beam_search import diverse_beam_search
from lib.decoding.ensemble import Ensemble
from lib.decoding.rescoring import rescore
from lib.decoding.sampling import sample
from lib.decoding.state import select, start, step
from models.plain import PlainShowAndTell
from tests.helpers.assertions import assert_same_captions
from tests.helpers.samples import random_features, small_model


@pytest.fixture
def models(device):
    """The same model twice: the second network returns variables, and has dropout in training."""
    model = small_model(n_layers=2)
    network = PlainShowAndTell(**{**model.network.hyperparameters, 'dropout': 0.5})
    network.copyparams(model.network)
    models = model, dataclasses.replace(model, network=network)
    for model in models:
        model.network.to_device(device)
    return models


def test_variables_become_arrays_and_nothing_is_dropped(device, models):
    features, tokens = device.send((random_features(4), numpy.array([0, 3, 3, 4], 'int32')))
    results = []
    for model in models:
        log_probs, state = step(model.network, tokens, start(model.network, features))
        results.append([log_probs, *state])
    to_cpu = chainer.get_device('@numpy').send
    for expected, array in zip(*results, strict=True):
        assert isinstance(array, device.xp.ndarray)
        numpy.testing.assert_allclose(to_cpu(array), to_cpu(expected), atol=1e-5)


@pytest.mark.parametrize('rows', [numpy.array([2, 0, 2]), slice(2)], ids=['array', 'slice'])
def test_captions_are_selected_in_every_array(rows):
    arrays = [numpy.random.rand(3, n) for n in (1, 2, 3)]
    a, ((b,), c) = select((arrays[0], ((arrays[1],), arrays[2])), rows)
    for selected, array in zip((a, b, c), arrays):
        numpy.testing.assert_array_equal(selected, array[rows])


@pytest.mark.parametrize('search', [beam_search, diverse_beam_search, sample])
def test_captions_do_not_depend_on_what_a_network_returns(device, models, search):
    model, plain = models
    features = device.send(random_features(4))
    results = []
    for ensemble in Ensemble([model] * 2), Ensemble([plain, model]):
        numpy.random.seed(1)
        captions = search(ensemble, features, max_length=8)
        results.append(captions + rescore(ensemble, features, captions, 8))
    for captions, expected in zip(*results):
        assert_same_captions(captions, expected)
