import chainer
import numpy
import pytest

from lib.training.adam import Adam


class TwoParameters(chainer.Link):
    def __init__(self, dtype, order='C'):
        super().__init__()
        rng = numpy.random.RandomState(0)
        with self.init_scope():
            # Larger than one block, and not a multiple of it.
            W = rng.randn(300, 257).astype(dtype)
            self.W = chainer.Parameter(numpy.asarray(W, order=order))
            self.b = chainer.Parameter(rng.randn(3).astype(dtype))
            self.unused = chainer.Parameter(rng.randn(2).astype(dtype))


def train_steps(make_optimizer, dtype, steps=5, **hyperparameters):
    """Returns the parameters after some steps with random gradients."""
    link = TwoParameters(dtype, order=hyperparameters.pop('order', 'C'))
    optimizer = make_optimizer(alpha=0.01, **hyperparameters).setup(link)
    rng = numpy.random.RandomState(1)
    for _ in range(steps):
        link.cleargrads()
        for param in link.W, link.b:
            param.grad = rng.randn(*param.shape).astype(dtype)
        optimizer.update()
    return [param.array for param in link.params()]


@pytest.mark.parametrize(
    'hyperparameters',
    [
        {},
        {'eta': 0.5},
        {'amsgrad': True},
        {'adabound': True},
        {'weight_decay_rate': 0.01},
        {'order': 'F'},
    ],
    ids=str,
)
@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64'])
def test_matches_chainer_adam_bit_for_bit(dtype, hyperparameters):
    ours = train_steps(Adam, dtype, **hyperparameters)
    chainers = train_steps(chainer.optimizers.Adam, dtype, **hyperparameters)
    for array, expected in zip(ours, chainers):
        assert array.dtype == dtype
        numpy.testing.assert_array_equal(array, expected)
