from models.dropout import dropout

import chainer
import chainer.functions as F
import numpy
import pytest


def ones(shape=(400, 500), dtype='float32'):
    numpy.random.seed(0)
    return numpy.ones(shape, dtype)


@pytest.mark.parametrize('ratio', [0.1, 0.5, 0.9])
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_drops_the_share_and_keeps_the_mean(ratio, dtype):
    y = dropout(ones(dtype=dtype), ratio).array
    assert y.dtype == dtype
    # Five standard deviations of the mean of 200,000 independent choices.
    tolerance = 5 * (ratio * (1 - ratio) / y.size) ** 0.5
    assert (y == 0).mean() == pytest.approx(ratio, abs=tolerance)
    numpy.testing.assert_allclose(y[y != 0], 1 / (1 - ratio), rtol=1e-6)
    # Neither neighbours nor rows know of each other.
    for a, b in (y[:, 1:], y[:, :-1]), (y[1:], y[:-1]):
        assert abs(numpy.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / a.size ** 0.5


def test_the_gradient_takes_the_same_way():
    x = chainer.Variable(ones((30, 40)))
    y = dropout(x, 0.5)
    F.sum(y * y).backward()
    numpy.testing.assert_array_equal(x.grad, 2 * y.array * (y.array != 0) * 2)


def test_the_same_seed_drops_the_same():
    numpy.testing.assert_array_equal(dropout(ones(), 0.5).array, dropout(ones(), 0.5).array)


def test_does_nothing_without_training_or_ratio():
    x = chainer.Variable(ones((2, 3)))
    assert dropout(x, 0) is x
    with chainer.using_config('train', False):
        assert dropout(x, 0.5) is x
