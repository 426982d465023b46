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
        {'beta1': 0},
        {'amsgrad': True},
        {'adabound': True},
        {'weight_decay_rate': 0.01},
        {'order': 'F'},
        {'grad_order': 'F'},
    ],
    ids=str,
)
@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64'])
def test_matches_chainer_adam(device, dtype, options):
    assert_matches_chainer(device, dtype, **options)


@pytest.mark.parametrize('n_parameters', [MAX_PARAMETERS - 1, MAX_PARAMETERS, 2 * MAX_PARAMETERS])
def test_many_parameters_match_chainer_adam(device, n_parameters):
    """As many as the GPU updates at a time, with the unused one, and more."""
    shapes = [(1 + k % 7, 1 + k % 5) for k in range(n_parameters)]
    assert_matches_chainer(device, 'float32', shapes=shapes, eta=0.5)


def test_parameters_may_have_their_own_hyperparameters_or_none(device):
    def updated(make_optimizer):
        link = Parameters('float64', 'C', ((3, 4), (5,), (2,))).to_device(device)
        optimizer = make_optimizer(alpha=0.1).setup(link)
        link.parameter1.update_rule.hyperparam.eps = 1
        link.parameter2.update_rule.enabled = False
        for _ in range(3):
            for param in link.params():
                param.grad = device.xp.ones_like(param.array)
            optimizer.update()
        return [to_cpu(param.array) for param in link.params()]

    for array, expected in zip(updated(Adam), updated(chainer.optimizers.Adam), strict=True):
        numpy.testing.assert_allclose(array, expected, rtol=1e-14)


def test_hooks_run_before_and_after_the_update(device):
    link = Parameters('float32', 'C', ((3, 4),)).to_device(device)
    before, seen = to_cpu(link.parameter0.array).copy(), {}

    def make_hook(timing):
        def hook(optimizer):
            seen[timing] = to_cpu(link.parameter0.array).copy()

        hook.timing = timing
        return hook

    optimizer = Adam(alpha=0.1).setup(link)
    for timing in 'pre', 'post':
        optimizer.add_hook(make_hook(timing), timing)
    link.parameter0.grad = device.xp.ones_like(link.parameter0.array)
    optimizer.update()
    numpy.testing.assert_array_equal(seen['pre'], before)
    numpy.testing.assert_array_equal(seen['post'], to_cpu(link.parameter0.array))
    assert (seen['post'] != before).all()
