"""The recurrence of :mod:`models.fast.packed_lstm` in NumPy."""

import numpy

from models.fast.dropout import dropout_mask


class Recurrence:
    """Computes a batch, step by step, and its gradients.

    Args:
        captions_per_step (tuple of int): Number of sequences at each step.
        dropout (float): Share of the outputs to drop.
        skip_first_step (bool): Leave out the outputs of the first step.

    Attributes:
        previous_h (array): For each row after the first step, the hidden state of the step
            before, (R - B, H).
    """

    def __init__(self, captions_per_step, dropout, skip_first_step):
        self._captions_per_step = captions_per_step
        self._dropout = dropout
        self._first_output = captions_per_step[0] if skip_first_step else 0

    def forward(self, gates, W_h, b):
        """Runs the steps.

        Args:
            gates (array): Products of the inputs and ``W_x``, (R, 4H); overwritten.
            W_h (array): Recurrent weights, (4H, H).
            b (array): Biases, (4H,).

        Returns:
            array: Hidden states after dropout, (R, H) or, without the first step, (R - B, H).
        """
        gates += b
        shape = len(gates), W_h.shape[1]
        c, tanh_c, h = (numpy.empty(shape, gates.dtype) for _ in range(3))
        zero = numpy.zeros((self._captions_per_step[0], shape[1]), gates.dtype)
        for rows, previous in self._steps():
            if previous is not None:
                gates[rows] += h[previous] @ W_h.T
            previous_c = zero if previous is None else c[previous]
            _activate(gates[rows], previous_c, c[rows], tanh_c[rows], h[rows])
        self._activations = gates, c, tanh_c, zero
        self._h = h
        self._mask = dropout_mask(shape, h.dtype, self._dropout)
        output = h if self._mask is None else h * self._mask
        return output[self._first_output :]

    def backward(self, grad_output, W_h):
        """Returns the gradient of the gates before their nonlinearities, (R, 4H)."""
        gates, c, tanh_c, zero = self._activations
        if self._mask is not None:
            grad_output = grad_output * self._mask[self._first_output :]
        grad_gates = numpy.empty_like(gates)
        # The gradients of h and c that come from the following step.
        next_grad_h = next_grad_c = None
        for rows, previous in reversed(list(self._steps())):
            if rows.start < self._first_output:
                step_grad_h = zero.copy()
            else:
                step_grad_h = grad_output[
                    rows.start - self._first_output : rows.stop - self._first_output
                ].copy()
            step_grad_c = numpy.zeros_like(step_grad_h)
            if next_grad_h is not None:
                step_grad_h[: len(next_grad_h)] += next_grad_h
                step_grad_c[: len(next_grad_c)] = next_grad_c
            previous_c = zero if previous is None else c[previous]
            _activate_backward(
                gates[rows], previous_c, tanh_c[rows], step_grad_h, step_grad_c, grad_gates[rows]
            )
            if previous is not None:
                next_grad_h = grad_gates[rows] @ W_h
                next_grad_c = step_grad_c
        return grad_gates

    @property
    def previous_h(self):
        n_first = self._captions_per_step[0]
        previous_h = numpy.empty_like(self._h[n_first:])
        for rows, previous in self._steps():
            if previous is not None:
                previous_h[rows.start - n_first : rows.stop - n_first] = self._h[previous]
        return previous_h

    def _steps(self):
        """Yields the rows of each step and the rows of the step before that they continue."""
        start = previous_start = 0
        for step, size in enumerate(self._captions_per_step):
            previous = slice(previous_start, previous_start + size) if step else None
            yield slice(start, start + size), previous
            previous_start = start
            start += size


def step(gates, W_h, c, h):
    """Advances sequences; the arguments are those of :meth:`PackedLSTM.step`.

    Returns:
        tuple of arrays: The new ``(c, h)``.
    """
    new_c, new_h = numpy.empty_like(c), numpy.empty_like(h)
    gates += h @ W_h.T
    _activate(gates, c, new_c, numpy.empty_like(c), new_h)
    return new_c, new_h


def _activate(gates, previous_c, c, tanh_c, h):
    """Activates the gates (n, 4H) in place; writes c, tanh(c) and h, (n, H) each."""
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
