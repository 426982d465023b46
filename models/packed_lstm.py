"""An LSTM layer over packed batches.

A packed batch contains no padding. Its sequences are sorted by length, longest first,
and stored time-major: all first steps, then all second steps, and so on. ``batch_sizes[t]``
sequences have a step ``t``, so the rows of step ``t + 1`` continue the first
``batch_sizes[t + 1]`` rows of step ``t``.
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
        b (chainer.Parameter): Biases, (4H,), initialized to 1 for the forget gate, as in
            Chainer's own LSTM, and to 0 for the others.
    """

    def __init__(self, in_size, hidden_size):
        super().__init__()
        with self.init_scope():
            self.W_x = chainer.Parameter(initializers.LeCunNormal(), (4 * hidden_size, in_size))
            self.W_h = chainer.Parameter(initializers.LeCunNormal(), (4 * hidden_size, hidden_size))
            self.b = chainer.Parameter(0, (4 * hidden_size,))
        self.b.array[hidden_size : 2 * hidden_size] = 1

    def forward(self, x, batch_sizes):
        """Runs whole sequences.

        Args:
            x (chainer.Variable): Packed inputs, (R, E), floating point.
            batch_sizes (sequence of int): Number of sequences at each step, which never
                increases; sums to R.

        Returns:
            chainer.Variable: Packed hidden states, (R, H).
        """
        return packed_lstm(x, self.W_x, self.W_h, self.b, batch_sizes)

    def start(self, n_sequences):
        """Returns the zero state ``(c, h)`` of ``n_sequences`` sequences, each (n, H)."""
        shape = n_sequences, self.W_h.shape[1]
        return self.xp.zeros(shape, self.b.dtype), self.xp.zeros(shape, self.b.dtype)

    def input_gates(self, x):
        """Returns what inputs (n, E) and biases add to the gate pre-activations, (n, 4H)."""
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
    """Runs an LSTM over a packed batch. See :class:`PackedLSTM`.

    Raises:
        ValueError: If ``batch_sizes`` increases or does not sum to the rows of ``x``.
    """
    return PackedLSTMFunction(batch_sizes).apply((x, W_x, W_h, b))[0]


class PackedLSTMFunction(chainer.FunctionNode):
    """The recurrence, forward and backward, on NumPy and CuPy arrays.

    The products of all inputs with ``W_x`` are one matrix product, and so is the gradient of
    each weight matrix. Only the products with ``W_h``, which need the step before, are
    computed step by step.
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
        for rows, previous in self._steps():
            if previous is not None:
                gates[rows] += h[previous] @ W_h.T
            previous_c = zero if previous is None else c[previous]
            _activate(gates[rows], previous_c, c[rows], tanh_c[rows], h[rows])

        self.retain_inputs((0, 1, 2))
        self.retain_outputs((0,))
        self.activations = gates, c, tanh_c, zero
        return (h,)

    def backward(self, indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('packed_lstm has no second derivative')
        x, W_x, W_h = (variable.array for variable in self.get_retained_inputs())
        h = self.get_retained_outputs()[0].array
        grad_gates = self._backward_through_time(grad_outputs[0].array, W_h)

        # For each row after the first step, the hidden state of the step before.
        n_first = self.batch_sizes[0]
        previous_h = chainer.backend.get_array_module(x).empty_like(h[n_first:])
        for rows, previous in self._steps():
            if previous is not None:
                previous_h[rows.start - n_first : rows.stop - n_first] = h[previous]
        gradients = (
            grad_gates @ W_x if 0 in indexes else None,
            grad_gates.T @ x,
            grad_gates[n_first:].T @ previous_h,
            grad_gates.sum(axis=0),
        )
        return tuple(chainer.as_variable(gradients[i]) for i in indexes)

    def _backward_through_time(self, grad_h, W_h):
        """Returns the gradient of the gates before their nonlinearities, (R, 4H)."""
        gates, c, tanh_c, zero = self.activations
        xp = chainer.backend.get_array_module(gates)
        grad_gates = xp.empty_like(gates)
        # The gradients of h and c that come from the following step.
        next_grad_h = next_grad_c = None
        for rows, previous in reversed(list(self._steps())):
            step_grad_h = grad_h[rows].copy()
            step_grad_c = xp.zeros_like(step_grad_h)
            if next_grad_h is not None:
                step_grad_h[: len(next_grad_h)] += next_grad_h
                step_grad_c[: len(next_grad_c)] = next_grad_c
            previous_c = zero if previous is None else c[previous]
            _activate_backward(
                gates[rows], previous_c, tanh_c[rows], step_grad_h, step_grad_c, grad_gates[rows]
            )
            if previous is not None:
                next_grad_h, next_grad_c = grad_gates[rows] @ W_h, step_grad_c
        return grad_gates

    def _steps(self):
        """Yields the rows of each step and the rows of the step before that they continue."""
        start = previous_start = 0
        for step, size in enumerate(self.batch_sizes):
            previous = slice(previous_start, previous_start + size) if step else None
            yield slice(start, start + size), previous
            previous_start, start = start, start + size


def _activate(gates, previous_c, c, tanh_c, h):
    """Activates the gates (n, 4H) in place; writes c, tanh(c) and h, (n, H) each."""
    if chainer.backend.get_array_module(gates) is not numpy:
        _forward_kernel()(previous_c, gates.shape[1] // 4, gates, c, tanh_c, h)
        return
    hidden_size = gates.shape[1] // 4
    sigmoids = gates[:, : 3 * hidden_size]
    # sigmoid(x) = (1 + tanh(x / 2)) / 2, which cannot overflow.
    sigmoids *= 0.5
    numpy.tanh(gates, out=gates)
    sigmoids *= 0.5
    sigmoids += 0.5
    i, f, o, g = _split(gates)
    numpy.multiply(f, previous_c, out=c)
    c += i * g
    numpy.tanh(c, out=tanh_c)
    numpy.multiply(o, tanh_c, out=h)


def _activate_backward(gates, previous_c, tanh_c, grad_h, grad_c, grad_gates):
    """Writes the gradient of the pre-activations; ``grad_c`` becomes that of ``previous_c``."""
    if chainer.backend.get_array_module(gates) is not numpy:
        _backward_kernel()(
            gates, previous_c, tanh_c, grad_h, gates.shape[1] // 4, grad_c, grad_gates
        )
        return
    i, f, o, g = _split(gates)
    grad_i, grad_f, grad_o, grad_g = _split(grad_gates)
    grad_c += grad_h * o * (1 - tanh_c * tanh_c)
    numpy.multiply(grad_h * tanh_c, o * (1 - o), out=grad_o)
    numpy.multiply(grad_c * g, i * (1 - i), out=grad_i)
    numpy.multiply(grad_c * previous_c, f * (1 - f), out=grad_f)
    numpy.multiply(grad_c * i, 1 - g * g, out=grad_g)
    grad_c *= f


def _split(gates):
    hidden_size = gates.shape[1] // 4
    return [gates[:, k * hidden_size : (k + 1) * hidden_size] for k in range(4)]


def _forward_kernel():
    return cuda.elementwise(
        'T previous_c, int32 hidden_size',
        'raw T gates, T c, T tanh_c, T h',
        """
        const ptrdiff_t row = i / hidden_size * 4 * hidden_size + i % hidden_size;
        const T in = 1 / (1 + exp(-gates[row]));
        const T forget = 1 / (1 + exp(-gates[row + hidden_size]));
        const T out = 1 / (1 + exp(-gates[row + 2 * hidden_size]));
        const T cell = tanh(gates[row + 3 * hidden_size]);
        gates[row] = in;
        gates[row + hidden_size] = forget;
        gates[row + 2 * hidden_size] = out;
        gates[row + 3 * hidden_size] = cell;
        c = forget * previous_c + in * cell;
        tanh_c = tanh(c);
        h = out * tanh_c;
        """,
        'packed_lstm_forward',
    )


def _backward_kernel():
    return cuda.elementwise(
        'raw T gates, T previous_c, T tanh_c, T grad_h, int32 hidden_size',
        'T grad_c, raw T grad_gates',
        """
        const ptrdiff_t row = i / hidden_size * 4 * hidden_size + i % hidden_size;
        const T in = gates[row];
        const T forget = gates[row + hidden_size];
        const T out = gates[row + 2 * hidden_size];
        const T cell = gates[row + 3 * hidden_size];
        const T through_c = grad_c + grad_h * out * (1 - tanh_c * tanh_c);
        grad_gates[row] = through_c * cell * in * (1 - in);
        grad_gates[row + hidden_size] = through_c * previous_c * forget * (1 - forget);
        grad_gates[row + 2 * hidden_size] = grad_h * tanh_c * out * (1 - out);
        grad_gates[row + 3 * hidden_size] = through_c * in * (1 - cell * cell);
        grad_c = through_c * forget;
        """,
        'packed_lstm_backward',
    )
