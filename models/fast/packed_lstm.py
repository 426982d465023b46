"""An LSTM layer over packed batches.

A packed batch contains no padding. Its sequences are sorted by length, longest first,
and stored time-major: all first steps, then all second steps, and so on. ``captions_per_step[t]``
sequences have a step ``t``, so the rows of step ``t + 1`` continue the first
``captions_per_step[t + 1]`` rows of step ``t``.
"""

import chainer
import numpy

from models.fast import packed_lstm_cpu, packed_lstm_gpu
from models.fast.products import product_of_rows
from models.plain import LSTM


class PackedLSTM(LSTM):
    """The LSTM of :mod:`models.plain`, for whole sequences and, in decoding, step by step.

    Args:
        in_size (int): Size E of the input vectors.
        hidden_size (int): Size H of the hidden state and the cell.

    Attributes:
        W_x (chainer.Parameter): Input weights, (4H, E).
        W_h (chainer.Parameter): Recurrent weights, (4H, H).
        b (chainer.Parameter): Biases, (4H,).
    """

    def forward(self, x, captions_per_step, dropout=0, skip_first_step=False):
        """Runs whole sequences. See :func:`packed_lstm`."""
        weights = self.W_x, self.W_h, self.b
        return packed_lstm(x, *weights, captions_per_step, dropout, skip_first_step)

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
        return _implementation(gates).step(gates, self.W_h.array, *state)


def packed_lstm(x, W_x, W_h, b, captions_per_step, dropout=0, skip_first_step=False):
    """Runs an LSTM over a packed batch.

    Args:
        x (chainer.Variable): Packed inputs, (R, E), floating point.
        W_x, W_h, b (chainer.Variable): See :class:`PackedLSTM`.
        captions_per_step (sequence of int): Number of sequences at each step, which never
            increases; sums to R.
        dropout (float): Share of the values that dropout sets to zero in what is returned, but
            not in the recurrence, in [0, 1).
        skip_first_step (bool): Leave out the hidden states of the first step.

    Returns:
        chainer.Variable: Packed hidden states, (R, H).
    """
    function = PackedLSTMFunction(captions_per_step, dropout, skip_first_step)
    return function.apply((x, W_x, W_h, b))[0]


class PackedLSTMFunction(chainer.FunctionNode):
    """The recurrence, forward and backward, on NumPy and CuPy arrays.

    The products of all inputs with ``W_x`` are one matrix product, and so is the gradient of
    each weight matrix. Only the products with ``W_h``, which need the step before, are
    computed step by step.
    """

    def __init__(self, captions_per_step, dropout=0, skip_first_step=False):
        super().__init__()
        self.captions_per_step = captions_per_step
        self.dropout = dropout
        self.skip_first_step = skip_first_step

    def forward(self, inputs):
        x, W_x, W_h, b = inputs
        self.recurrence = _implementation(x).Recurrence(
            self.captions_per_step, self.dropout, self.skip_first_step
        )
        self.retain_inputs((0, 1, 2))
        return (self.recurrence.forward(product_of_rows(x, W_x), W_h, b),)

    def backward(self, indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('packed_lstm has no second derivative')
        x, W_x, W_h = (variable.array for variable in self.get_retained_inputs())
        grad_gates = self.recurrence.backward(grad_outputs[0].array, W_h)
        gradients = (
            grad_gates @ W_x if 0 in indexes else None,
            grad_gates.T @ x,
            grad_gates[self.captions_per_step[0] :].T @ self.recurrence.previous_h,
            grad_gates.sum(axis=0),
        )
        return tuple(chainer.as_variable(gradients[i]) for i in indexes)


def _implementation(array):
    return packed_lstm_cpu if isinstance(array, numpy.ndarray) else packed_lstm_gpu
