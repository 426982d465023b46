"""The output layer and the softmax cross-entropy as one function."""

import chainer
import numpy
from chainer.backends import cuda

from models.fast.kernels import launch_blocks, load_kernel
from models.fast.products import product_of_rows

SOURCE = 'models/fast/linear_softmax_cross_entropy.cu'
# Rows of logits that a CPU works on at a time: half a megabyte for 10,000 tokens.
BLOCK_ROWS = 16


def linear_softmax_cross_entropy(h, W, b, targets, label_smoothing=0, divisor=None):
    """Softmax cross-entropy of a linear layer over the vocabulary.

    This is Eq. 13 of Show and Tell. The logits of a batch are by far its largest array
    (tokens x vocabulary), so one buffer holds first the logits, then their exponentials and,
    in the backward pass, their gradient.

    Args:
        h (chainer.Variable): Hidden states, (R, H), floating point.
        W (chainer.Variable): Weights, (V, H).
        b (chainer.Variable): Biases, (V,).
        targets (array): Indices of the correct tokens, (R,), int32, below V.
        label_smoothing (float): Share of a target's probability that is spread evenly over all
            tokens (Section 7 of Szegedy et al., arXiv:1512.00567), in [0, 1).
        divisor (float): What the sum over the tokens is divided by in the first value; by
            default R, which makes it a mean.

    Returns:
        tuple of chainer.Variable: The loss with label smoothing, in nats; the mean loss of a
        token without it; and the share of rows whose target has the largest logit; all
        scalars. Gradients flow through the first only.

    Raises:
        RuntimeError: In a second backward pass, since the first overwrites the buffer.
    """
    return LinearSoftmaxCrossEntropy(targets, label_smoothing, divisor).apply((h, W, b))


class LinearSoftmaxCrossEntropy(chainer.FunctionNode):
    """See :func:`linear_softmax_cross_entropy`."""

    def __init__(self, targets, label_smoothing=0, divisor=None):
        super().__init__()
        self.targets = targets
        self.label_smoothing = float(label_smoothing)
        self.divisor = float(divisor or len(targets))
        self.exponentials = None

    def forward_cpu(self, inputs):
        h, W, b = inputs
        logits = h @ W.T
        target_logits, means, sums = (numpy.empty(len(h), h.dtype) for _ in range(3))
        for row in range(0, len(h), BLOCK_ROWS):
            rows = slice(row, row + BLOCK_ROWS)
            _exponentiate(
                logits[rows],
                b,
                self.targets[rows],
                target_logits[rows],
                means[rows] if self.label_smoothing else None,
                sums[rows],
            )
        accuracy = (target_logits == 0).mean(dtype=h.dtype)
        loss = smooth_loss = (numpy.log(sums) - target_logits).mean()
        if self.label_smoothing:
            smooth_loss = loss + self.label_smoothing * (target_logits - means).mean()
        smooth_loss = smooth_loss * (len(h) / self.divisor)
        self._retain(logits, sums)
        return tuple(numpy.asarray(value, h.dtype) for value in (smooth_loss, loss, accuracy))

    def forward_gpu(self, inputs):
        h, W, b = inputs
        self.targets = cuda.cupy.ascontiguousarray(self.targets, 'int32')
        n_rows = len(h)
        logits = product_of_rows(h, W)
        sums, of_rows, results = (
            cuda.cupy.empty(shape, h.dtype) for shape in (n_rows, (3, n_rows), 3)
        )
        launch_blocks(
            load_kernel(SOURCE, 'exponentiate', T=h.dtype),
            n_rows,
            logits,
            cuda.cupy.ascontiguousarray(b, h.dtype),
            self.targets,
            sums,
            of_rows,
            results,
            _block_counter(),
            len(W),
            self.label_smoothing,
            self.divisor,
        )
        self._retain(logits, sums)
        return results[0], results[1], results[2]

    def _retain(self, exponentials, sums):
        self.retain_inputs((0, 1))
        if chainer.config.enable_backprop:
            self.exponentials = exponentials
            self.sums = sums

    def backward(self, indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('linear_softmax_cross_entropy has no second derivative')
        if self.exponentials is None:
            raise RuntimeError('the first backward pass has overwritten the buffer of this loss')
        h, W = (variable.array for variable in self.get_retained_inputs())
        grad_logits = self.exponentials
        self.exponentials = None
        on_cpu = isinstance(h, numpy.ndarray)
        grad_b = (self._backward_cpu if on_cpu else self._backward_gpu)(
            grad_logits, grad_outputs[0].array
        )
        gradients = grad_logits @ W, grad_logits.T @ h, grad_b
        return tuple(chainer.as_variable(gradients[i]) for i in indexes)

    def _backward_cpu(self, grad_logits, grad_loss):
        """Replaces exponentials by gradients; returns the gradient of the biases."""
        scale = grad_loss / self.divisor
        grad_logits *= (scale / self.sums)[:, None]
        if self.label_smoothing:
            grad_logits -= scale * self.label_smoothing / grad_logits.shape[1]
        rows = numpy.arange(len(grad_logits))
        grad_logits[rows, self.targets] -= scale * (1 - self.label_smoothing)
        # A product with ones sums over the rows in half the time of sum().
        return numpy.ones(len(grad_logits), grad_logits.dtype) @ grad_logits

    def _backward_gpu(self, grad_logits, grad_loss):
        """As :meth:`_backward_cpu`."""
        n_rows, n_tokens = grad_logits.shape
        grad_b = cuda.cupy.empty(n_tokens, grad_logits.dtype)
        load_kernel(SOURCE, 'grad_logits', T=grad_logits.dtype)(
            (-(-n_tokens // 32), 1, 1),
            (32, 32, 1),
            (
                grad_logits,
                self.sums,
                self.targets,
                grad_loss,
                grad_b,
                n_rows,
                n_tokens,
                self.label_smoothing,
                self.divisor,
            ),
        )
        return grad_b


def _exponentiate(logits, b, targets, target_logits, means, sums):
    """Adds the biases to products (R, V) and replaces them by their exponentials.

    The maximum of each row is subtracted first. Writes the logits of the targets, the mean
    logits (unless ``means`` is None) and the sums of the exponentials, all (R,).
    """
    logits += b
    logits -= logits.max(axis=1)[:, None]
    target_logits[...] = logits[numpy.arange(len(logits)), targets]
    if means is not None:
        logits.mean(axis=1, out=means)
    numpy.exp(logits, out=logits)
    logits.sum(axis=1, out=sums)


@cuda.memoize(for_each_device=True)
def _block_counter():
    """Counts the blocks that have finished; each launch leaves it at 0.

    There is one for each device, so that only one stream may compute losses.
    """
    return cuda.cupy.zeros(1, 'uint32')
