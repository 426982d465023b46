import chainer
import numpy
import pytest

from models.network import Network
from tests.helpers.networks import LENGTHS, TOLERANCE, make_batch, make_networks

to_cpu = chainer.get_device('@numpy').send


def observe(network, batch):
    """Returns the loss of a batch and what the network reports."""
    reporter = chainer.Reporter()
    reporter.add_observer('main', network)
    with reporter:
        loss = network(batch)
    return loss, reporter.observation


def assert_same_gradients(network, expected_network, tolerance):
    expected = dict(expected_network.namedparams())
    for name, param in network.namedparams():
        expected_grad = to_cpu(expected[name].grad)
        scale = max(1, abs(expected_grad).max())
        numpy.testing.assert_allclose(
            to_cpu(param.grad), expected_grad, rtol=0, atol=tolerance * scale, err_msg=name
        )


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('lengths', LENGTHS)
@pytest.mark.parametrize('n_layers', [1, 3])
def test_losses_and_gradients_are_those_of_the_plain_network(device, lengths, dtype, n_layers):
    fast, plain = make_networks(device, dtype, n_layers=n_layers)
    batch = make_batch(device, lengths, dtype, 'sentence' if n_layers == 3 else 'mean')
    for network in fast, plain:
        network.label_smoothing = 0.1
        network.feature_mean[:] = 0.5
        network.feature_scale[:] = 2
    loss, reported = observe(fast, batch)
    plain_loss, plain_reported = observe(plain, batch)
    assert loss.dtype == plain_loss.dtype == dtype
    assert float(loss.array) == pytest.approx(float(plain_loss.array), rel=TOLERANCE[dtype])
    assert reported.keys() == plain_reported.keys() == {'main/loss', 'main/accuracy'}
    for name, (value, weight) in reported.items():
        expected, expected_weight = plain_reported[name]
        assert float(value) == pytest.approx(float(expected), rel=TOLERANCE[dtype])
        assert weight == expected_weight == len(batch.targets)
    for network, variable in (fast, loss), (plain, plain_loss):
        network.cleargrads()
        variable.backward()
    assert_same_gradients(fast, plain, TOLERANCE[dtype])


def test_weighted_losses_and_predictions_are_those_of_the_plain_network(device):
    fast, plain = make_networks(device, n_layers=2)
    batch = make_batch(device, [5, 2, 1])
    weights = device.send(numpy.random.RandomState(0).randn(len(batch.targets)))
    losses = [network.weighted_loss(batch, weights) for network in (fast, plain)]
    assert float(losses[0].array) == pytest.approx(float(losses[1].array))
    for network, loss in zip((fast, plain), losses):
        network.cleargrads()
        loss.backward()
    assert_same_gradients(fast, plain, 1e-10)
    rows = device.send(numpy.array([3, 0, 3]))
    logits, log_probs = (to_cpu(network.predictor(batch)(rows)) for network in (fast, plain))
    logits -= numpy.log(numpy.exp(logits).sum(axis=1, keepdims=True))
    numpy.testing.assert_allclose(logits, log_probs, atol=1e-10)


@pytest.mark.parametrize('lengths', LENGTHS)
@pytest.mark.parametrize('n_layers', [1, 2])
def test_decoding_gives_the_probabilities_of_training(device, lengths, n_layers):
    fast, plain = make_networks(device, n_layers=n_layers)
    batch = make_batch(device, lengths)
    for network in fast, plain:
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            _, reported = observe(network, batch)
            # The inherited loop over start() and step().
            log_probs = to_cpu(Network.log_probs(network, batch).array)
        numpy.testing.assert_allclose(numpy.exp(log_probs).sum(axis=1), 1)
        of_targets = log_probs[numpy.arange(len(log_probs)), to_cpu(batch.targets)]
        assert -of_targets.mean() == pytest.approx(float(reported['main/loss'][0]), abs=1e-10)
        is_correct = log_probs.argmax(axis=1) == to_cpu(batch.targets)
        assert is_correct.mean() == pytest.approx(float(reported['main/accuracy'][0]))


def test_reported_loss_is_without_label_smoothing(device):
    fast, _ = make_networks(device)
    batch = make_batch(device, [5, 2, 1])
    loss = float(fast(batch).array)
    fast.label_smoothing = 0.1
    smoothed_loss, reported = observe(fast, batch)
    assert abs(float(smoothed_loss.array) - loss) > 1e-4
    assert float(reported['main/loss'][0]) == loss


def test_dropout_acts_in_training_only(device):
    batch = make_batch(device, [5, 2])
    for network in make_networks(device, dropout=0.5, n_layers=2):
        with chainer.using_config('train', True):
            assert float(network(batch).array) != float(network(batch).array)
        with chainer.using_config('train', False):
            assert float(network(batch).array) == float(network(batch).array)


def test_gradients_with_dropout_match_numerical_gradients(device):
    fast, _ = make_networks(device, dropout=0.4)
    batch = make_batch(device, [4, 3, 1])

    def loss():
        numpy.random.seed(5)
        return fast(batch)

    fast.cleargrads()
    loss().backward()
    step = 1e-6
    for param in fast.params():
        grad = to_cpu(param.grad)
        index = numpy.unravel_index(abs(grad).argmax(), param.shape)
        value = float(param.array[index])
        param.array[index] = value + step
        above = float(loss().array)
        param.array[index] = value - step
        below = float(loss().array)
        param.array[index] = value
        assert (above - below) / (2 * step) == pytest.approx(grad[index], rel=1e-5)
