"""An LSTM layer over packed minibatches.

A packed minibatch holds only real time steps. Its sequences are sorted by length,
longest first, and stored time-major: all first steps, then all second steps, and so on.
``batch_sizes[t]`` sequences are still running at step ``t``, so the rows of step ``t + 1``
continue the first ``batch_sizes[t + 1]`` rows of step ``t``. Nothing is padded.
"""

import chainer
import numpy
from chainer import initializers
from chainer.backends import cuda


class PackedLSTM(chainer.Link):
    """LSTM without peepholes (Eqs. 4-9 of Show and Tell), starting from a zero state.

    The four blocks of ``hidden_size`` rows in the weights are the input, forget and
    output gates and the cell input.

    Args:
        in_size (int): Size E of the input vectors.
        hidden_size (int): Size H of the hidden state and the cell.

    Attributes:
        W_x (chainer.Parameter): Input weights, (4H, E).
        W_h (chainer.Parameter): Recurrent weights, (4H, H).
        b (chainer.Parameter): Biases, (4H,). The forget gate's start at 1, as in
            Chainer's own LSTM; the others at 0.
    """

    def __init__(self, in_size, hidden_size):
        super().__init__()
        with self.init_scope():
            self.W_x = chainer.Parameter(initializers.LeCunNormal(), (4 * hidden_size, in_size))
            self.W_h = chainer.Parameter(initializers.LeCunNormal(), (4 * hidden_size, hidden_size))
            self.b = chainer.Parameter(0, (4 * hidden_size,))
        self.b.array[hidden_size:2 * hidden_size] = 1

    def forward(self, x, batch_sizes):
        """Runs whole sequences.

        Args:
            x (chainer.Variable): Packed inputs, (R, E), floating point.
            batch_sizes (sequence of int): Sequences running at each step, never
                increasing; they sum to R.

        Returns:
            chainer.Variable: Packed hidden states, (R, H).
        """
        return packed_lstm(x, self.W_x, self.W_h, self.b, batch_sizes)

    def start(self, n_sequences):
        """Returns the zero state ``(c, h)`` of ``n_sequences`` sequences, each (n, H)."""
        shape = n_sequences, self.W_h.shape[1]
        return self.xp.zeros(shape, self.b.dtype), self.xp.zeros(shape, self.b.dtype)

    def input_gates(self, x):
        """Returns what inputs (n, E) add to the gates, biases included, (n, 4H)."""
        gates = x @ self.W_x.array.T
        gates += self.b.array
        return gates

    def step(self, gates, state):
        """Advances every sequence by one step, outside any computational graph.

        Args:
            gates (array): From :meth:`input_gates`, (n, 4H); overwritten.
            state (tuple of arrays): ``(c, h)``, each (n, H).

        Returns:
            tuple of arrays: The new ``(c, h)``; ``h`` is the layer's output.
        """
        c, h = state
        gates += h @ self.W_h.array.T
        new_c, new_h = self.xp.empty_like(c), self.xp.empty_like(h)
        _activate(gates, c, new_c, self.xp.empty_like(c), new_h)
        return new_c, new_h


def packed_lstm(x, W_x, W_h, b, batch_sizes):
    """Runs an LSTM over a packed minibatch. See :class:`PackedLSTM`.

    Raises:
        ValueError: If ``batch_sizes`` increases or does not sum to the rows of ``x``.
    """
    return PackedLSTMFunction(batch_sizes).apply((x, W_x, W_h, b))[0]


class PackedLSTMFunction(chainer.FunctionNode):
    """The recurrence, forward and backward, on NumPy and CuPy arrays.

    The input side of all steps is one matrix product, as are the gradients of both weight
    matrices. Only the products with ``W_h``, which wait for the step before, are done step
    by step.
    """

    def __init__(self, batch_sizes):
        super().__init__()
        self.batch_sizes = tuple(int(size) for size in batch_sizes)
        if any(a < b for a, b in zip(self.batch_sizes, self.batch_sizes[1:])):
            raise ValueError('batch_sizes must not increase: sort the sequences longest first')

    def forward(self, inputs):
        x, W_x, W_h, b = inputs
        if len(x) != sum(self.batch_sizes):
            raise ValueError(f'x has {len(x)} rows, batch_sizes sum to {sum(self.batch_sizes)}')
        xp = chainer.backend.get_array_module(x)

        gates = x @ W_x.T
        gates += b
        shape = len(x), W_h.shape[1]
        c, tanh_c, h = (xp.empty(shape, x.dtype) for _ in range(3))
        zero = xp.zeros((self.batch_sizes[0], shape[1]), x.dtype)
        for now, before in self._steps():
            if before is not None:
                gates[now] += h[before] @ W_h.T
            _activate(gates[now], zero if before is None else c[before],
                      c[now], tanh_c[now], h[now])

        self.retain_inputs((0, 1, 2))
        self.retain_outputs((0,))
        self.activations = gates, c, tanh_c, zero
        return h,

    def backward(self, indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('packed_lstm has no second derivative')
        x, W_x, W_h = (variable.array for variable in self.get_retained_inputs())
        h = self.get_retained_outputs()[0].array
        grad_gates = self._backward_through_time(grad_outputs[0].array, W_h)

        # Row for row, the hidden state that each step after the first one started from.
        h_before = chainer.backend.get_array_module(x).empty_like(h[self.batch_sizes[0]:])
        offset = self.batch_sizes[0]
        for now, before in self._steps():
            if before is not None:
                h_before[now.start - offset:now.stop - offset] = h[before]
        gradients = (
            grad_gates @ W_x if 0 in indexes else None,
            grad_gates.T @ x,
            grad_gates[offset:].T @ h_before,
            grad_gates.sum(axis=0))
        return tuple(None if gradients[i] is None else chainer.as_variable(gradients[i])
                     for i in indexes)

    def _backward_through_time(self, grad_h, W_h):
        """Returns the gradient of the gates before their nonlinearities, (R, 4H)."""
        gates, c, tanh_c, zero = self.activations
        xp = chainer.backend.get_array_module(gates)
        grad_gates = xp.empty_like(gates)
        # What the following step, if any, hands back: gradients of h and c of this one.
        from_h = from_c = None
        for now, before in reversed(list(self._steps())):
            total_h = grad_h[now].copy()
            total_c = xp.zeros_like(total_h)
            if from_h is not None:
                total_h[:len(from_h)] += from_h
                total_c[:len(from_c)] = from_c
            _activate_backward(gates[now], zero if before is None else c[before],
                               tanh_c[now], total_h, total_c, grad_gates[now])
            if before is not None:
                from_h, from_c = grad_gates[now] @ W_h, total_c
        return grad_gates

    def _steps(self):
        """Yields, for each step, its rows and the rows of the step before it continues."""
        start, before = 0, None
        for size in self.batch_sizes:
            now = slice(start, start + size)
            if before is not None:
                before = slice(before.start, before.start + size)
            yield now, before
            start, before = start + size, now


def _activate(gates, c_before, c, tanh_c, h):
    """Turns gate sums (n, 4H) into activations in place and writes c, tanh(c) and h (n, H)."""
    if chainer.backend.get_array_module(gates) is not numpy:
        _forward_kernel()(c_before, gates.shape[1] // 4, gates, c, tanh_c, h)
        return
    hidden_size = gates.shape[1] // 4
    sigmoids = gates[:, :3 * hidden_size]
    # sigmoid(x) = (1 + tanh(x / 2)) / 2, which cannot overflow.
    sigmoids *= 0.5
    numpy.tanh(gates, out=gates)
    sigmoids *= 0.5
    sigmoids += 0.5
    i, f, o, g = _split(gates)
    numpy.multiply(f, c_before, out=c)
    c += i * g
    numpy.tanh(c, out=tanh_c)
    numpy.multiply(o, tanh_c, out=h)


def _activate_backward(gates, c_before, tanh_c, grad_h, grad_c, grad_gates):
    """Writes the gradient of the gate sums and turns ``grad_c`` into that of ``c_before``."""
    if chainer.backend.get_array_module(gates) is not numpy:
        _backward_kernel()(gates, c_before, tanh_c, grad_h, gates.shape[1] // 4,
                           grad_c, grad_gates)
        return
    i, f, o, g = _split(gates)
    grad_i, grad_f, grad_o, grad_g = _split(grad_gates)
    grad_c += grad_h * o * (1 - tanh_c * tanh_c)
    numpy.multiply(grad_h * tanh_c, o * (1 - o), out=grad_o)
    numpy.multiply(grad_c * g, i * (1 - i), out=grad_i)
    numpy.multiply(grad_c * c_before, f * (1 - f), out=grad_f)
    numpy.multiply(grad_c * i, 1 - g * g, out=grad_g)
    grad_c *= f


def _split(gates):
    hidden_size = gates.shape[1] // 4
    return [gates[:, k * hidden_size:(k + 1) * hidden_size] for k in range(4)]


def _forward_kernel():
    return cuda.elementwise(
        'T c_before, int32 hidden_size', 'raw T gates, T c, T tanh_c, T h',
        '''
        const ptrdiff_t row = i / hidden_size * 4 * hidden_size + i % hidden_size;
        const T in = 1 / (1 + exp(-gates[row]));
        const T forget = 1 / (1 + exp(-gates[row + hidden_size]));
        const T out = 1 / (1 + exp(-gates[row + 2 * hidden_size]));
        const T cell = tanh(gates[row + 3 * hidden_size]);
        gates[row] = in;
        gates[row + hidden_size] = forget;
        gates[row + 2 * hidden_size] = out;
        gates[row + 3 * hidden_size] = cell;
        c = forget * c_before + in * cell;
        tanh_c = tanh(c);
        h = out * tanh_c;
        ''', 'packed_lstm_forward')


def _backward_kernel():
    return cuda.elementwise(
        'raw T gates, T c_before, T tanh_c, T grad_h, int32 hidden_size',
        'T grad_c, raw T grad_gates',
        '''
        const ptrdiff_t row = i / hidden_size * 4 * hidden_size + i % hidden_size;
        const T in = gates[row];
        const T forget = gates[row + hidden_size];
        const T out = gates[row + 2 * hidden_size];
        const T cell = gates[row + 3 * hidden_size];
        const T through_c = grad_c + grad_h * out * (1 - tanh_c * tanh_c);
        grad_gates[row] = through_c * cell * in * (1 - in);
        grad_gates[row + hidden_size] = through_c * c_before * forget * (1 - forget);
        grad_gates[row + 2 * hidden_size] = grad_h * tanh_c * out * (1 - out);
        grad_gates[row + 3 * hidden_size] = through_c * in * (1 - cell * cell);
        grad_c = through_c * forget;
        ''', 'packed_lstm_backward')
