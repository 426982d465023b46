from models.scheduled_sampling import mix_in_samples
from tests.models.test_show_and_tell import make_batch, make_model

import chainer
import numpy
import pytest

BATCH_SIZES = [3, 3, 2, 1]
INPUTS = numpy.array([0, 0, 0, 3, 4, 5, 6, 7, 8], 'int32')


def certain(words, n_words=10):
    """Returns a prediction that leaves no doubt about the word after each row."""
    logits = numpy.full((len(words), n_words), -50, 'float32')
    logits[numpy.arange(len(words)), words] = 50
    return lambda rows: logits[rows]


def test_words_are_replaced_by_what_the_word_before_predicts():
    predict = certain([3, 4, 9, 6, 7, 1, 9, 1, 1])
    numpy.testing.assert_array_equal(
        mix_in_samples(INPUTS, predict, BATCH_SIZES, 1), [0, 0, 0, 3, 4, 9, 6, 7, 9])


def test_without_chance_all_stay():
    predict = certain([9] * 9)
    numpy.testing.assert_array_equal(mix_in_samples(INPUTS, predict, BATCH_SIZES, 0), INPUTS)
    numpy.testing.assert_array_equal(mix_in_samples(INPUTS[:3], predict, [3], 1), INPUTS[:3])


def test_as_many_are_replaced_and_drawn_as_chance_and_probabilities_say():
    numpy.random.seed(0)
    n = 20000
    logits = numpy.log(numpy.array([[.2, .5, .3]] * 2 * n, 'float32'))
    mixed = mix_in_samples(numpy.full(2 * n, 7, 'int32'), lambda rows: logits[rows], [n, n], 0.4)
    assert (mixed[:n] == 7).all()
    shares = [(mixed[n:] == word).mean() for word in (0, 1, 2, 7)]
    assert shares == pytest.approx([.08, .2, .12, .6], abs=.02)


def test_only_training_samples():
    model, _ = make_model('float64')
    features, _, _, *packed = make_batch([6, 5, 5, 3], 6, 11, 'float64')
    plain_loss = model(features, *packed).array
    model.sampling_chance = 1
    with chainer.using_config('train', False):
        assert model(features, *packed).array == plain_loss
    with chainer.using_config('train', True):
        assert model(features, *packed).array != plain_loss
