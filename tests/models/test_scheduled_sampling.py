import chainer
import numpy
import pytest

from lib.captions.batch import Batch
from models.scheduled_sampling import apply_scheduled_sampling
from tests.helpers.networks import make_batch, make_networks

CAPTIONS_PER_STEP = [3, 3, 2, 1]
INPUTS = numpy.array([0, 0, 0, 3, 4, 5, 6, 7, 8], 'int32')
to_cpu = chainer.get_device('@numpy').send


def sample(inputs, predict, captions_per_step, probability):
    batch = Batch(None, inputs, None, captions_per_step)
    return apply_scheduled_sampling(batch, predict, probability)


def certain(device, tokens, n_tokens=10):
    """Returns a ``predict`` that is certain of the next token after each row."""
    logits = numpy.full((len(tokens), n_tokens), -50, 'float32')
    logits[numpy.arange(len(tokens)), tokens] = 50
    logits = device.send(logits)
    return lambda rows: logits[rows]


def test_tokens_are_replaced_by_predictions_from_the_token_before(device):
    inputs, predict = device.send(INPUTS), certain(device, [3, 4, 9, 6, 7, 1, 9, 1, 1])
    sampled = sample(inputs, predict, CAPTIONS_PER_STEP, 1)
    numpy.testing.assert_array_equal(to_cpu(sampled), [0, 0, 0, 3, 4, 9, 6, 7, 9])
    numpy.testing.assert_array_equal(to_cpu(inputs), INPUTS)


def test_no_token_is_replaced_with_probability_0_or_in_the_first_step(device):
    inputs, predict = device.send(INPUTS), certain(device, [9] * 9)
    sampled = sample(inputs, predict, CAPTIONS_PER_STEP, 0)
    numpy.testing.assert_array_equal(to_cpu(sampled), INPUTS)
    sampled = sample(inputs[:3], predict, [3], 1)
    numpy.testing.assert_array_equal(to_cpu(sampled), INPUTS[:3])


def test_tokens_are_replaced_and_drawn_with_the_given_probabilities(device):
    numpy.random.seed(0)
    n = 20000
    logits = device.send(numpy.log(numpy.array([[0.2, 0.5, 0.3]] * 2 * n, 'float32')))
    inputs = device.send(numpy.full(2 * n, 7, 'int32'))
    sampled = to_cpu(sample(inputs, lambda rows: logits[rows], [n, n], 0.4))
    assert (sampled[:n] == 7).all()
    shares = [(sampled[n:] == token).mean() for token in (0, 1, 2, 7)]
    assert shares == pytest.approx([0.08, 0.2, 0.12, 0.6], abs=0.02)


def test_sampling_happens_in_training_only(device):
    batch = make_batch(device, [6, 5, 5, 3])
    for network in make_networks(device):
        loss = float(network(batch).array)
        network.sampling_probability = 1
        with chainer.using_config('train', False):
            assert float(network(batch).array) == loss
        with chainer.using_config('train', True):
            assert float(network(batch).array) != loss
