import dataclasses

import chainer
import chainer.functions as F
import numpy
import pytest

from lib.decoding.beam_search import beam_search
from lib.decoding.diverse_beam_search import diverse_beam_search
from lib.decoding.ensemble import Ensemble
from lib.decoding.rescoring import rescore
from lib.decoding.sampling import sample
from lib.decoding.state import select, start, step
from tests.helpers.samples import random_features, small_model


class WithVariables(chainer.Chain):
    """A network whose predictions and nested states are variables, and that has dropout."""

    def __init__(self, network):
        super().__init__()
        self.hyperparameters = network.hyperparameters
        with self.init_scope():
            self.network = network

    def start(self, features):
        c, *others = self.network.start(features)
        return chainer.Variable(c), (tuple(map(chainer.Variable, others)),)

    def step(self, tokens, state):
        c, (others,) = state
        log_probs, (c, *others) = self.network.step(tokens, (c, *others))
        # A parameter, so that the predictions would have a graph.
        log_probs = F.dropout(log_probs + 0 * F.sum(self.network.output.b), 0.5)
        return log_probs, (chainer.Variable(c), (tuple(map(chainer.Variable, others)),))


@pytest.fixture
def model(device):
    """A model of two layers on the device."""
    model = small_model(n_layers=2)
    model.network.to_device(device)
    return model


def leaves(state):
    """Returns the arrays of a state."""
    if not isinstance(state, tuple):
        return [state]
    return [leaf for part in state for leaf in leaves(part)]


def test_variables_become_arrays_and_nothing_is_dropped(device, model):
    features, tokens = device.send((random_features(4), numpy.array([0, 3, 3, 4], 'int32')))
    network, other = model.network, WithVariables(model.network)
    expected, state = step(network, tokens, start(network, features))
    actual, nested = step(other, tokens, start(other, features))
    to_cpu = chainer.get_device('@numpy').send
    for array, plain in zip((actual, *leaves(nested)), (expected, *state), strict=True):
        assert isinstance(array, device.xp.ndarray)
        numpy.testing.assert_array_equal(to_cpu(array), to_cpu(plain))


@pytest.mark.parametrize('rows', [numpy.array([2, 0, 2]), slice(2)], ids=['array', 'slice'])
def test_captions_are_selected_in_every_array(rows):
    arrays = [numpy.random.rand(3, n) for n in (1, 2, 3)]
    a, ((b,), c) = select((arrays[0], ((arrays[1],), arrays[2])), rows)
    for selected, array in zip((a, b, c), arrays):
        numpy.testing.assert_array_equal(selected, array[rows])


@pytest.mark.parametrize('n_networks', [1, 2])
@pytest.mark.parametrize('search', [beam_search, diverse_beam_search, sample])
def test_searches_take_any_state(device, model, search, n_networks):
    features = device.send(random_features(4))
    other = dataclasses.replace(model, network=WithVariables(model.network))
    results = []
    for ensemble in Ensemble([model] * n_networks), Ensemble([other] * n_networks):
        numpy.random.seed(1)
        captions = search(ensemble, features, max_length=8)
        results.append((captions, rescore(ensemble, features, captions, 8)))
    assert results[0] == results[1]
