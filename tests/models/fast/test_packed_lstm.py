import chainer
import chainer.functions as F
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.fast.packed_lstm import PackedLSTM, packed_lstm
from tests.helpers.assertions import assert_gradients_are_numerical

IN_SIZE, HIDDEN_SIZE = 3, 4
to_cpu = chainer.get_device('@numpy').send
captions_per_step_strategy = st.lists(st.integers(1, 5), min_size=1, max_size=6).map(
    lambda sizes: sorted(sizes, reverse=True)
)


def random_arrays(n_rows, seed=0):
    rng = numpy.random.RandomState(seed)
    shapes = (
        (n_rows, IN_SIZE),
        (4 * HIDDEN_SIZE, IN_SIZE),
        (4 * HIDDEN_SIZE, HIDDEN_SIZE),
        (4 * HIDDEN_SIZE,),
    )
    return tuple(rng.randn(*shape) for shape in shapes)


def plain_lstm(x, W_x, W_h, b, captions_per_step):
    """Returns the packed hidden states by Eqs. 4-9 of Show and Tell, sequence by sequence."""
    starts = numpy.cumsum([0, *captions_per_step])
    h_packed = numpy.empty((len(x), HIDDEN_SIZE))
    for sequence in range(captions_per_step[0]):
        c = h = numpy.zeros(HIDDEN_SIZE)
        for step, size in enumerate(captions_per_step):
            if sequence < size:
                row = starts[step] + sequence
                i, f, o, g = numpy.split(W_x @ x[row] + W_h @ h + b, 4)
                i, f, o = (1 / (1 + numpy.exp(-gate)) for gate in (i, f, o))
                c = f * c + i * numpy.tanh(g)
                h = h_packed[row] = o * numpy.tanh(c)
    return h_packed


@given(captions_per_step=captions_per_step_strategy, seed=st.integers(0, 99))
def test_matches_the_equations_of_the_paper(device, captions_per_step, seed):
    arrays = random_arrays(sum(captions_per_step), seed)
    h = packed_lstm(*device.send(arrays), captions_per_step).array
    numpy.testing.assert_allclose(to_cpu(h), plain_lstm(*arrays, captions_per_step), atol=1e-12)


@settings(max_examples=20)
@given(captions_per_step=captions_per_step_strategy)
def test_gradients_match_numerical_gradients(device, captions_per_step):
    assert_gradients_are_numerical(
        lambda *inputs: packed_lstm(*inputs, captions_per_step),
        device.send(random_arrays(sum(captions_per_step))),
    )


@pytest.mark.parametrize('captions_per_step', [[3], [3, 2, 2, 1]])
def test_the_first_step_is_run_but_left_out(device, captions_per_step):
    arrays = device.send(random_arrays(sum(captions_per_step)))
    whole = packed_lstm(*arrays, captions_per_step).array
    h = packed_lstm(*arrays, captions_per_step, skip_first_step=True).array
    numpy.testing.assert_array_equal(to_cpu(h), to_cpu(whole[3:]))


@pytest.mark.parametrize('dropout', [0, 0.4])
@pytest.mark.parametrize('skip_first_step', [False, True])
def test_gradients_with_dropout_or_without_the_first_step_match_numerical_gradients(
    device, dropout, skip_first_step
):
    def lstm_with_the_same_mask(*inputs):
        numpy.random.seed(3)
        return packed_lstm(*inputs, [3, 2, 2, 1], dropout, skip_first_step)

    with chainer.using_config('train', True):
        assert_gradients_are_numerical(lstm_with_the_same_mask, device.send(random_arrays(8)))


def test_dropout_drops_outputs_but_not_the_recurrence(device):
    arrays, captions_per_step = device.send(random_arrays(500)), [50] * 10
    plain = to_cpu(packed_lstm(*arrays, captions_per_step).array)
    numpy.random.seed(0)
    with chainer.using_config('train', True):
        h = to_cpu(packed_lstm(*arrays, captions_per_step, 0.4).array)
    # Five standard deviations of the mean of 2,000 independent choices.
    assert (h == 0).mean() == pytest.approx(0.4, abs=5 * (0.4 * 0.6 / 2000) ** 0.5)
    numpy.testing.assert_allclose(h[h != 0], plain[h != 0] / 0.6)


def test_matches_n_step_lstm_of_chainer(device):
    captions_per_step = [3, 2, 1, 1]
    x, W_x, W_h, b = (array.astype('float32') for array in random_arrays(7))
    h = to_cpu(packed_lstm(*device.send((x, W_x, W_h, b)), captions_per_step).array)
    # Chainer takes one matrix per gate, in the order i, f, g, o.
    order = [0, 1, 3, 2]
    w_x, w_h, biases = ([numpy.split(array, 4)[k] for k in order] for array in (W_x, W_h, b))
    zero = numpy.zeros((1, 3, HIDDEN_SIZE), 'float32')
    steps = numpy.split(x, numpy.cumsum(captions_per_step)[:-1])
    no_bias = [numpy.zeros_like(bias) for bias in biases]
    with chainer.using_config('train', False):
        _, _, ys = F.n_step_lstm(1, 0, zero, zero, [w_x + w_h], [biases + no_bias], steps)
    numpy.testing.assert_allclose(h, F.concat(ys, axis=0).array, atol=1e-5)


def test_single_steps_match_a_packed_run(device):
    numpy.random.seed(0)
    lstm = PackedLSTM(IN_SIZE, HIDDEN_SIZE).to_device(device)
    x = device.send(numpy.random.randn(4, 2, IN_SIZE).astype('float32'))
    state = lstm.start(2)
    for step, h in zip(x, lstm(x.reshape(8, IN_SIZE), [2] * 4).array.reshape(4, 2, HIDDEN_SIZE)):
        state = lstm.step(lstm.input_gates(step), state)
        numpy.testing.assert_allclose(to_cpu(state[1]), to_cpu(h), atol=1e-6)


def test_large_gates_saturate_without_overflow(device):
    arrays = device.send([1e4 * array for array in random_arrays(3)])
    with numpy.errstate(all='raise', under='ignore'):
        h = packed_lstm(*arrays, [1, 1, 1]).array
    assert numpy.isfinite(to_cpu(h)).all()


def test_second_derivative_raises(device):
    x, *weights = (chainer.Variable(array) for array in device.send(random_arrays(3)))
    y = F.sum(packed_lstm(x, *weights, [2, 1]))
    with pytest.raises(RuntimeError, match='second derivative'):
        chainer.grad([y], [x], enable_double_backprop=True)
