import chainer
import numpy
import pytest

from lib.training.adam import MAX_PARAMETERS, Adam

to_cpu = chainer.get_device('@numpy').send


class Parameters(chainer.Link):
    """Some parameters, and one that never gets a gradient."""

    def __init__(self, dtype, order, shapes):
        super().__init__()
        rng = numpy.random.RandomState(0)
        with self.init_scope():
            for k, shape in enumerate(shapes):
                values = numpy.asarray(rng.randn(*shape).astype(dtype), order=order)
                setattr(self, f'parameter{k}', chainer.Parameter(values))
            self.unused = chainer.Parameter(rng.randn(2).astype(dtype))


def train_steps(
    make_optimizer,
    device,
    dtype,
    # The first one is larger than one block, and not a multiple of it.
    shapes=((300, 257), (3,)),
    order='C',
    grad_order='C',
    **hyperparameters,
):
    """Returns the parameters after some steps with random gradients."""
    link = Parameters(dtype, order, shapes).to_device(device)
    optimizer = make_optimizer(alpha=0.01, **hyperparameters).setup(link)
    rng = numpy.random.RandomState(1)
    for _ in range(5):
        link.cleargrads()
        for param in link.params():
            if param is not link.unused:
                grad = numpy.asarray(rng.randn(*param.shape).astype(dtype), order=grad_order)
                param.grad = device.send(grad)
        optimizer.update()
    return [param.array for param in link.params()]


def assert_matches_chainer(device, dtype, **options):
    """Compares with Chainer's Adam on the same device, bit for bit on the CPU."""
    ours = train_steps(Adam, device, dtype, **options)
    chainers = train_steps(chainer.optimizers.Adam, device, dtype, **options)
    rtol = 0 if device.xp is numpy else 8 * numpy.finfo(dtype).eps
    for array, expected in zip(ours, chainers, strict=True):
        assert array.dtype == dtype
        numpy.testing.assert_allclose(to_cpu(array), to_cpu(expected), rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'eta': 0.5},
        {'amsgrad': True},
        {'adabound': True},
        {'weight_decay_rate': 0.01},
        {'order': 'F'},
        {'grad_order': 'F'},
    ],
    ids=str,
)
@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64'])
def test_matches_chainer_adam_bit_for_bit(device, dtype, options):
    assert_matches_chainer(device, dtype, **options)


@pytest.mark.parametrize('n_parameters', [MAX_PARAMETERS - 1, MAX_PARAMETERS, 2 * MAX_PARAMETERS])
def test_many_parameters_match_chainer_adam(device, n_parameters):
    """As many as the GPU updates at a time, with the unused one, and more."""
    shapes = [(1 + k % 7, 1 + k % 5) for k in range(n_parameters)]
    assert_matches_chainer(device, 'float32', shapes=shapes, eta=0.5)
