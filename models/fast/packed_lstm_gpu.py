"""The recurrence of :mod:`models.fast.packed_lstm` in CuPy: a product and a kernel for each step.

Steps are so short that launching them takes longer than computing them. The loops therefore
work on addresses, since a view of an array takes the host as long as a launch.
"""

from chainer.backends import cuda

from models.fast.dropout import dropout_argument
from models.fast.kernels import launch, load_kernel
from models.fast.products import Product, empty_rows

SOURCE = 'models/fast/packed_lstm.cu'


class Recurrence:
    """As :class:`models.fast.packed_lstm_cpu.Recurrence`."""

    def __init__(self, captions_per_step, dropout, skip_first_step):
        self._captions_per_step = captions_per_step
        self._dropout = dropout
        self._first_output = captions_per_step[0] if skip_first_step else 0

    def forward(self, gates, W_h, b):
        """As :meth:`models.fast.packed_lstm_cpu.Recurrence.forward`."""
        n_rows = len(gates)
        n_first = self._captions_per_step[0]
        hidden_size = W_h.shape[1]
        row_bytes = hidden_size * gates.itemsize
        c, output, previous_h = (
            cuda.cupy.empty((n, hidden_size), gates.dtype)
            for n in (n_rows, n_rows - self._first_output, n_rows - n_first)
        )
        dropout = dropout_argument(self._dropout)
        activate = load_kernel(SOURCE, 'activate', T=gates.dtype)
        multiply = Product(gates.dtype)
        for start, size, next_size, previous in self._steps():
            step_gates = gates.data.ptr + 4 * start * row_bytes
            h = previous_h.data.ptr + (start - n_first) * row_bytes
            if start:
                multiply(h, size, W_h, step_gates, transpose=True, accumulate=True)
            launch(
                activate,
                (size, hidden_size),
                step_gates,
                b,
                c.data.ptr + previous * row_bytes if start else 0,
                c.data.ptr + start * row_bytes,
                h + size * row_bytes,
                self._output_at(output, start, row_bytes),
                hidden_size,
                next_size,
                dropout,
                start * hidden_size,
            )
        self.previous_h = previous_h
        self._activations = gates, c, dropout
        return output

    def backward(self, grad_output, W_h):
        """As :meth:`models.fast.packed_lstm_cpu.Recurrence.backward`."""
        gates, c, dropout = self._activations
        hidden_size = W_h.shape[1]
        row_bytes = W_h.strides[0]
        grad_output = cuda.cupy.ascontiguousarray(grad_output)
        grad_gates = empty_rows(*gates.shape, gates.dtype)
        # The gradients of h and c that come from the following step.
        shape = self._captions_per_step[0], hidden_size
        grad_h = cuda.cupy.empty(shape, gates.dtype)
        grad_c = cuda.cupy.empty(shape, gates.dtype)
        activate_backward = load_kernel(SOURCE, 'activate_backward', T=gates.dtype)
        multiply = Product(gates.dtype)
        for start, size, next_size, previous in reversed(list(self._steps())):
            step_grad_gates = grad_gates.data.ptr + 4 * start * row_bytes
            launch(
                activate_backward,
                (size, hidden_size),
                gates.data.ptr + 4 * start * row_bytes,
                c.data.ptr + previous * row_bytes if start else 0,
                c.data.ptr + start * row_bytes,
                self._output_at(grad_output, start, row_bytes),
                grad_h,
                grad_c,
                step_grad_gates,
                hidden_size,
                next_size,
                dropout,
                start * hidden_size,
            )
            if start:
                multiply(step_grad_gates, size, W_h, grad_h.data.ptr)
        return grad_gates

    def _output_at(self, output, start, row_bytes):
        """Returns the address of the outputs of the step that starts at a row, 0 for none."""
        if start < self._first_output:
            return 0
        return output.data.ptr + (start - self._first_output) * row_bytes

    def _steps(self):
        """Yields first row, size, size of the next step, and first row of the step before."""
        start = previous = 0
        for size, next_size in zip(self._captions_per_step, (*self._captions_per_step[1:], 0)):
            yield start, size, next_size, previous
            previous = start
            start += size


def step(gates, W_h, c, h):
    """Advances sequences; the arguments are those of :meth:`PackedLSTM.step`.

    Returns:
        tuple of arrays: The new ``(c, h)``.
    """
    n, hidden_size = h.shape
    new_c, new_h = cuda.cupy.empty_like(c), cuda.cupy.empty_like(h)
    Product(h.dtype)(h.data.ptr, n, W_h, gates.data.ptr, transpose=True, accumulate=True)
    launch(
        load_kernel(SOURCE, 'activate', T=h.dtype),
        (n, hidden_size),
        gates,
        0,
        c,
        new_c,
        new_h,
        0,
        hidden_size,
        n,
        dropout_argument(0),
        0,
    )
    return new_c, new_h
