import chainer
import numpy
import pytest

from models.scheduled_sampling import apply_scheduled_sampling
from tests.helpers.plain_show_and_tell import make_batch, make_model

BATCH_SIZES = [3, 3, 2, 1]
INPUTS = numpy.array([0, 0, 0, 3, 4, 5, 6, 7, 8], 'int32')


def certain(tokens, n_tokens=10):
    """Returns a ``predict`` that is certain of the next token after each row."""
    logits = numpy.full((len(tokens), n_tokens), -50, 'float32')
    logits[numpy.arange(len(tokens)), tokens] = 50
    return lambda rows: logits[rows]


def test_tokens_are_replaced_by_predictions_from_the_token_before():
    predict = certain([3, 4, 9, 6, 7, 1, 9, 1, 1])
    numpy.testing.assert_array_equal(
        apply_scheduled_sampling(INPUTS, predict, BATCH_SIZES, 1), [0, 0, 0, 3, 4, 9, 6, 7, 9]
    )


def test_no_token_is_replaced_with_probability_0_or_in_the_first_step():
    predict = certain([9] * 9)
    numpy.testing.assert_array_equal(
        apply_scheduled_sampling(INPUTS, predict, BATCH_SIZES, 0), INPUTS
    )
    numpy.testing.assert_array_equal(
        apply_scheduled_sampling(INPUTS[:3], predict, [3], 1), INPUTS[:3]
    )


def test_tokens_are_replaced_and_drawn_with_the_given_probabilities():
    numpy.random.seed(0)
    n = 20000
    logits = numpy.log(numpy.array([[0.2, 0.5, 0.3]] * 2 * n, 'float32'))
    sampled = apply_scheduled_sampling(
        numpy.full(2 * n, 7, 'int32'), lambda rows: logits[rows], [n, n], 0.4
    )
    assert (sampled[:n] == 7).all()
    shares = [(sampled[n:] == token).mean() for token in (0, 1, 2, 7)]
    assert shares == pytest.approx([0.08, 0.2, 0.12, 0.6], abs=0.02)


def test_sampling_happens_in_training_only():
    model, _ = make_model('float64')
    features, _, _, *packed = make_batch([6, 5, 5, 3], 6, 11, 'float64')
    plain_loss = model(features, *packed).array
    model.sampling_probability = 1
    with chainer.using_config('train', False):
        assert model(features, *packed).array == plain_loss
    with chainer.using_config('train', True):
        assert model(features, *packed).array != plain_loss
