import chainer
import chainer.functions as F
import numpy
import pytest

from models.dropout import dropout


def ones(shape=(400, 500), dtype='float32'):
    numpy.random.seed(0)
    return numpy.ones(shape, dtype)


@pytest.mark.parametrize('ratio', [0.1, 0.5, 0.9])
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_drops_the_given_share_and_keeps_the_mean(ratio, dtype):
    y = dropout(ones(dtype=dtype), ratio).array
    assert y.dtype == dtype
    # Five standard deviations of the mean of 200,000 independent choices.
    tolerance = 5 * (ratio * (1 - ratio) / y.size) ** 0.5
    assert (y == 0).mean() == pytest.approx(ratio, abs=tolerance)
    numpy.testing.assert_allclose(y[y != 0], 1 / (1 - ratio), rtol=1e-6)
    # Neighboring values are uncorrelated, along rows and along columns.
    for a, b in (y[:, 1:], y[:, :-1]), (y[1:], y[:-1]):
        assert abs(numpy.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / a.size**0.5


def test_gradient_has_the_mask_of_the_output():
    x = chainer.Variable(ones((30, 40)))
    y = dropout(x, 0.5)
    F.sum(y * y).backward()
    numpy.testing.assert_array_equal(x.grad, 2 * y.array * (y.array != 0) * 2)


def test_same_seed_drops_the_same_values():
    numpy.testing.assert_array_equal(dropout(ones(), 0.5).array, dropout(ones(), 0.5).array)


def test_returns_its_argument_when_not_training_or_with_ratio_0():
    x = chainer.Variable(ones((2, 3)))
    assert dropout(x, 0) is x
    with chainer.using_config('train', False):
        assert dropout(x, 0.5) is x
