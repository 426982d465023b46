import chainer.functions as F
import chainer.links as L
import pytest

from models.network import Network
from tests.helpers.networks import FEATURE_SIZE, VOCABULARY_SIZE, make_networks


class MeanNetwork(Network):
    """Predicts tokens from the image alone; what it returns can be changed."""

    def __init__(self, change_state=lambda state: state, normalize=F.log_softmax):
        super().__init__(FEATURE_SIZE, VOCABULARY_SIZE)
        self._change_state = change_state
        self._normalize = normalize
        with self.init_scope():
            self.output = L.Linear(FEATURE_SIZE, VOCABULARY_SIZE)

    def start(self, features):
        return self._change_state((features,))

    def step(self, tokens, state):
        return self._normalize(self.output(state[0])), state


def test_networks_that_keep_to_the_rules_are_accepted(device):
    for network in (MeanNetwork().to_device(device), *make_networks(device, n_layers=2)):
        network.try_out()


@pytest.mark.parametrize(
    'change_state, message',
    [
        (list, 'a state must be a tuple'),
        (lambda state: (*state, 3), 'int'),
        (lambda state: (*state, state[0][:1]), 'a row for each image'),
    ],
)
def test_states_of_another_kind_are_refused(change_state, message):
    with pytest.raises(TypeError, match=message):
        MeanNetwork(change_state).try_out()


@pytest.mark.parametrize('normalize', [F.identity, lambda x: F.log_softmax(x)[:, :5]])
def test_logits_and_missing_tokens_are_refused(normalize):
    with pytest.raises(TypeError, match='log-probabilities of all tokens'):
        MeanNetwork(normalize=normalize).try_out()
