import chainer
import chainer.functions as F
import numpy
import pytest

from models.fast.linear_softmax_cross_entropy import linear_softmax_cross_entropy
from tests.helpers.assertions import assert_gradients_are_numerical

TARGETS = numpy.array([0, 4, 4, 2, 1, 3], 'int32')
to_cpu = chainer.get_device('@numpy').send


def random_arrays(dtype='float64', n_rows=6, n_tokens=5):
    rng = numpy.random.RandomState(0)
    shapes = (n_rows, 3), (n_tokens, 3), (n_tokens,)
    return tuple(rng.randn(*shape).astype(dtype) for shape in shapes)


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_matches_chainer(device, dtype):
    h, W, b = random_arrays(dtype)
    loss, plain_loss, accuracy = linear_softmax_cross_entropy(*device.send((h, W, b, TARGETS)))
    logits = F.linear(h, W, b)
    assert loss.dtype == plain_loss.dtype == accuracy.dtype == dtype
    expected = float(F.softmax_cross_entropy(logits, TARGETS).array)
    assert float(loss.array) == float(plain_loss.array) == pytest.approx(expected, rel=1e-6)
    assert float(accuracy.array) == pytest.approx(float(F.accuracy(logits, TARGETS).array))


def test_many_rows_and_tokens_match_chainer(device):
    """More than a block of the CPU's loop and of each of the GPU's kernels."""
    arrays = random_arrays(n_rows=300, n_tokens=270)
    targets = numpy.random.RandomState(1).randint(0, 270, 300).astype('int32')
    variables = [chainer.Variable(array) for array in device.send(arrays)]
    loss, _, accuracy = linear_softmax_cross_entropy(*variables, device.send(targets))
    loss.backward()
    expected_variables = [chainer.Variable(array) for array in arrays]
    logits = F.linear(*expected_variables)
    expected = F.softmax_cross_entropy(logits, targets)
    expected.backward()
    assert float(loss.array) == pytest.approx(float(expected.array), rel=1e-12)
    assert float(accuracy.array) == pytest.approx(float(F.accuracy(logits, targets).array))
    for variable, expected_variable in zip(variables, expected_variables):
        numpy.testing.assert_allclose(
            to_cpu(variable.grad), expected_variable.grad, rtol=1e-10, atol=1e-14
        )


@pytest.mark.parametrize('label_smoothing', [0, 0.3])
@pytest.mark.parametrize('divisor', [None, 2.5])
def test_gradients_match_numerical_gradients(device, label_smoothing, divisor):
    *arrays, targets = device.send((*random_arrays(), TARGETS))

    assert_gradients_are_numerical(
        lambda *inputs: linear_softmax_cross_entropy(*inputs, targets, label_smoothing, divisor)[0],
        arrays,
    )


@pytest.mark.parametrize('label_smoothing', [0, 0.3])
def test_divisor_replaces_the_number_of_rows_in_the_first_value_only(device, label_smoothing):
    arrays = device.send((*random_arrays(), TARGETS))
    mean, *others = linear_softmax_cross_entropy(*arrays, label_smoothing)
    loss, *others_with_divisor = linear_softmax_cross_entropy(*arrays, label_smoothing, 2.5)
    assert float(loss.array) == pytest.approx(6 / 2.5 * float(mean.array))
    for other, expected in zip(others_with_divisor, others):
        assert float(other.array) == float(expected.array)


def test_label_smoothing_spreads_the_target_over_all_tokens(device):
    h, W, b = random_arrays()
    loss, plain_loss, _ = linear_softmax_cross_entropy(*device.send((h, W, b, TARGETS)), 0.3)
    log_probs = F.log_softmax(F.linear(h, W, b)).array
    smoothed = numpy.full((6, 5), 0.3 / 5)
    smoothed[numpy.arange(6), TARGETS] += 0.7
    assert float(loss.array) == pytest.approx(-(smoothed * log_probs).sum(axis=1).mean())
    assert float(plain_loss.array) == pytest.approx(-log_probs[numpy.arange(6), TARGETS].mean())


def test_targets_may_be_any_integers(device):
    arrays = device.send(random_arrays())
    values = [
        to_cpu(linear_softmax_cross_entropy(*arrays, device.send(TARGETS.astype(dtype)))[0].array)
        for dtype in ('int32', 'int64')
    ]
    assert values[0] == values[1]


def test_large_logits_do_not_overflow(device):
    h, W, b, targets = device.send((*random_arrays(), TARGETS))
    with numpy.errstate(all='raise', under='ignore'):
        loss, _, _ = linear_softmax_cross_entropy(1e3 * h, 1e3 * W, b, targets)
    assert numpy.isfinite(float(loss.array))


def test_arguments_are_not_modified(device):
    arrays = random_arrays()
    variables = [chainer.Variable(device.send(array.copy())) for array in arrays]
    linear_softmax_cross_entropy(*variables, device.send(TARGETS))[0].backward()
    for variable, array in zip(variables, arrays):
        numpy.testing.assert_array_equal(to_cpu(variable.array), array)


def test_second_backward_pass_raises(device):
    variables = [chainer.Variable(array) for array in device.send(random_arrays())]
    loss, _, _ = linear_softmax_cross_entropy(*variables, device.send(TARGETS))
    loss.backward(retain_grad=True)
    with pytest.raises(RuntimeError, match='overwritten'):
        loss.backward()


def test_second_derivative_raises(device):
    h, W, b = (chainer.Variable(array) for array in device.send(random_arrays()))
    loss, _, _ = linear_softmax_cross_entropy(h, W, b, device.send(TARGETS))
    with pytest.raises(RuntimeError, match='second derivative'):
        chainer.grad([loss], [h], enable_double_backprop=True)
