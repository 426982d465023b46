import chainer
import chainer.functions as F
import numpy
import pytest

from models.fast.lstm_inputs import LSTMInputs, lstm_inputs
from tests.helpers.assertions import assert_gradients_are_numerical

TOKENS = numpy.array([3, 0, 3, 3, 5, 1], 'int32')
to_cpu = chainer.get_device('@numpy').send


def random_arrays(dtype='float64'):
    """Returns features, W_i, b_i, W_e, mean and scale: B, D, E, V = 4, 7, 3, 6."""
    rng = numpy.random.RandomState(0)
    shapes = (4, 7), (3, 7), (3,), (6, 3), (7,), (7,)
    return [rng.randn(*shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_projects_images_and_embeds_tokens(device, dtype):
    features, W_i, b_i, W_e, mean, scale = random_arrays(dtype)
    expected = numpy.concatenate((((features - mean) * scale) @ W_i.T + b_i, W_e[TOKENS]))
    x = lstm_inputs(*device.send((features, TOKENS, W_i, b_i, W_e, mean, scale))).array
    assert x.dtype == dtype
    numpy.testing.assert_allclose(to_cpu(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dropout', [0, 0.4])
def test_gradients_match_numerical_gradients(device, dropout):
    features, W_i, b_i, W_e, mean, scale = random_arrays()
    features, tokens, mean, scale = device.send((features, TOKENS, mean, scale))

    def inputs_with_the_same_mask(*parameters):
        numpy.random.seed(3)
        return lstm_inputs(features, tokens, *parameters, mean, scale, dropout)

    with chainer.using_config('train', True):
        assert_gradients_are_numerical(
            inputs_with_the_same_mask, [device.send(array) for array in (W_i, b_i, W_e)]
        )


def test_gradients_of_many_tokens_are_summed(device):
    """As many as the GPU's kernel takes in two passes, of which one begins within a word."""
    n, (features, W_i, b_i, W_e, mean, scale) = 40009, random_arrays()
    rng = numpy.random.RandomState(0)
    tokens, grad = rng.randint(0, 6, n).astype('int32'), rng.randn(n + 4, 3)
    expected = numpy.zeros_like(W_e)
    numpy.add.at(expected, tokens, grad[4:])
    parameters = [chainer.Variable(device.send(array)) for array in (W_i, b_i, W_e)]
    x = lstm_inputs(*device.send((features, tokens)), *parameters, *device.send((mean, scale)))
    x.grad = device.send(grad)
    x.backward()
    numpy.testing.assert_allclose(to_cpu(parameters[2].grad), expected, atol=1e-10)
    numpy.testing.assert_allclose(to_cpu(parameters[1].grad), grad[:4].sum(axis=0), atol=1e-12)


@pytest.mark.parametrize('n_tokens', [0, 6])
def test_any_layout_of_gradients_and_any_integers_are_taken(device, n_tokens):
    features, W_i, b_i, W_e, mean, scale = random_arrays()
    tokens = TOKENS[:n_tokens].astype('int64')
    parameters = [chainer.Variable(device.send(array)) for array in (W_i, b_i, W_e)]
    features, tokens, mean, scale = device.send((features, tokens, mean, scale))
    # The gradient of a sum is one value, repeated without being stored repeatedly.
    F.sum(lstm_inputs(features, tokens, *parameters, mean, scale)).backward()
    counts = numpy.bincount(to_cpu(tokens), minlength=6)
    numpy.testing.assert_array_equal(to_cpu(parameters[2].grad), counts[:, None].repeat(3, axis=1))
    numpy.testing.assert_array_equal(to_cpu(parameters[1].grad), [4, 4, 4])


def test_second_derivative_raises(device):
    features, W_i, *arrays = device.send(random_arrays())
    W_i = chainer.Variable(W_i)
    y = lstm_inputs(features, device.send(TOKENS), W_i, *arrays)
    with pytest.raises(RuntimeError, match='second derivative'):
        chainer.grad([F.sum(y)], [W_i], enable_double_backprop=True)


@pytest.mark.parametrize('ratio', [0.1, 0.5, 0.9])
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_dropout_drops_the_given_share_and_keeps_the_mean(device, dtype, ratio):
    features = numpy.ones((400, 500), dtype)
    y = dropped(device, features, ratio)
    assert y.dtype == dtype
    # Five standard deviations of the mean of 200,000 independent choices.
    tolerance = 5 * (ratio * (1 - ratio) / y.size) ** 0.5
    assert (y == 0).mean() == pytest.approx(ratio, abs=tolerance)
    numpy.testing.assert_allclose(y[y != 0], 1 / (1 - ratio), rtol=1e-6)
    # Neighboring values are uncorrelated, along rows and along columns.
    for a, b in (y[:, 1:], y[:, :-1]), (y[1:], y[:-1]):
        assert abs(numpy.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / a.size**0.5


def test_same_seed_drops_the_same_values(device):
    features = numpy.ones((40, 50), 'float32')
    numpy.testing.assert_array_equal(dropped(device, features), dropped(device, features))
    assert (dropped(device, features, seed=0) != dropped(device, features, seed=1)).any()


def dropped(device, features, ratio=0.5, seed=0):
    """Returns features after dropout."""
    numpy.random.seed(seed)
    n, dtype = features.shape[1], features.dtype
    mean, scale = device.send((numpy.zeros(n, dtype), numpy.ones(n, dtype)))
    function = LSTMInputs(*device.send((features, TOKENS[:0])), mean, scale, ratio)
    with chainer.using_config('train', True):
        function.apply((mean[None], mean[:1], mean[:, None]))
    return to_cpu(function.standardized)
