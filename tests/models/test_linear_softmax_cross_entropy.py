import chainer
import chainer.functions as F
import numpy
import pytest

from models.linear_softmax_cross_entropy import linear_softmax_cross_entropy
from tests.helpers.assertions import assert_gradients_are_numerical

TARGETS = numpy.array([0, 4, 4, 2, 1, 3], 'int32')


def random_arrays(dtype='float64'):
    rng = numpy.random.RandomState(0)
    return tuple(rng.randn(*shape).astype(dtype) for shape in ((6, 3), (5, 3), (5,)))


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_matches_chainer(dtype):
    h, W, b = random_arrays(dtype)
    loss, plain_loss, accuracy = linear_softmax_cross_entropy(h, W, b, TARGETS)
    logits = F.linear(h, W, b)
    assert loss.dtype == plain_loss.dtype == accuracy.dtype == dtype
    expected = float(F.softmax_cross_entropy(logits, TARGETS).array)
    assert loss.array == plain_loss.array == pytest.approx(expected, rel=1e-6)
    assert accuracy.array == pytest.approx(float(F.accuracy(logits, TARGETS).array))


@pytest.mark.parametrize('label_smoothing', [0, 0.3])
def test_gradients_match_numerical_gradients(label_smoothing):
    assert_gradients_are_numerical(
        lambda *inputs: linear_softmax_cross_entropy(*inputs, TARGETS, label_smoothing)[0],
        random_arrays(),
    )


def test_label_smoothing_spreads_the_target_over_all_tokens():
    h, W, b = random_arrays()
    loss, plain_loss, _ = linear_softmax_cross_entropy(h, W, b, TARGETS, 0.3)
    log_probs = F.log_softmax(F.linear(h, W, b)).array
    smoothed = numpy.full((6, 5), 0.3 / 5)
    smoothed[numpy.arange(6), TARGETS] += 0.7
    assert loss.array == pytest.approx(-(smoothed * log_probs).sum(axis=1).mean())
    assert plain_loss.array == pytest.approx(-log_probs[numpy.arange(6), TARGETS].mean())


def test_large_logits_do_not_overflow():
    h, W, b = random_arrays()
    with numpy.errstate(all='raise', under='ignore'):
        loss, _, _ = linear_softmax_cross_entropy(1e3 * h, 1e3 * W, b, TARGETS)
    assert numpy.isfinite(loss.array)


def test_arguments_are_not_modified():
    arrays = random_arrays()
    variables = [chainer.Variable(array.copy()) for array in arrays]
    linear_softmax_cross_entropy(*variables, TARGETS)[0].backward()
    for variable, array in zip(variables, arrays):
        numpy.testing.assert_array_equal(variable.array, array)


def test_second_backward_pass_raises():
    variables = [chainer.Variable(array) for array in random_arrays()]
    loss, _, _ = linear_softmax_cross_entropy(*variables, TARGETS)
    loss.backward(retain_grad=True)
    with pytest.raises(RuntimeError, match='overwritten'):
        loss.backward()


def test_second_derivative_raises():
    h, W, b = (chainer.Variable(array) for array in random_arrays())
    loss, _, _ = linear_softmax_cross_entropy(h, W, b, TARGETS)
    with pytest.raises(RuntimeError, match='second derivative'):
        chainer.grad([loss], [h], enable_double_backprop=True)
