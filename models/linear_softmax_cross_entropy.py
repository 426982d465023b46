"""The output layer and the softmax cross-entropy as one function."""

import chainer
import numpy

# Rows of logits that a CPU works on at a time: half a megabyte for 10,000 tokens.
BLOCK_ROWS = 16


def linear_softmax_cross_entropy(h, W, b, targets, label_smoothing=0):
    """Mean softmax cross-entropy of a linear layer over the vocabulary.

    This is Eq. 13 of Show and Tell, averaged over the tokens. The logits of a batch are
    by far its largest array (tokens x vocabulary), so one buffer holds first the logits,
    then their exponentials and, in the backward pass, their gradient.

    Args:
        h (chainer.Variable): Hidden states, (R, H), floating point.
        W (chainer.Variable): Weights, (V, H).
        b (chainer.Variable): Biases, (V,).
        targets (array): Indices of the correct tokens, (R,), integers below V.
        label_smoothing (float): Share of a target's probability that is spread evenly over all
            tokens (Section 7 of Szegedy et al., arXiv:1512.00567), in [0, 1).

    Returns:
        tuple of chainer.Variable: The loss in nats per token, the same without label
        smoothing, and the share of rows whose target has the largest logit; all scalars.
        Gradients flow through the first only.

    Raises:
        RuntimeError: In a second backward pass, since the first overwrites the buffer.
    """
    return LinearSoftmaxCrossEntropy(targets, label_smoothing).apply((h, W, b))


class LinearSoftmaxCrossEntropy(chainer.FunctionNode):
    """See :func:`linear_softmax_cross_entropy`."""

    def __init__(self, targets, label_smoothing=0):
        super().__init__()
        self.targets, self.label_smoothing = targets, label_smoothing
        self.exponentials = self.sums = None

    def forward(self, inputs):
        h, W, b = inputs
        xp = chainer.backend.get_array_module(h)

        logits = h @ W.T
        target_logits, means, sums = (xp.empty(len(h), h.dtype) for _ in range(3))
        for rows in _row_blocks(logits):
            _exponentiate(
                logits[rows],
                b,
                self.targets[rows],
                target_logits[rows],
                means[rows] if self.label_smoothing else None,
                sums[rows],
            )
        accuracy = (target_logits == 0).mean(dtype=h.dtype)
        loss = smooth_loss = (xp.log(sums) - target_logits).mean()
        if self.label_smoothing:
            smooth_loss = loss + self.label_smoothing * (target_logits - means).mean()

        self.retain_inputs((0, 1))
        if chainer.config.enable_backprop:
            self.exponentials, self.sums = logits, sums
        return tuple(xp.asarray(value, h.dtype) for value in (smooth_loss, loss, accuracy))

    def backward(self, indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('linear_softmax_cross_entropy has no second derivative')
        h, W = (variable.array for variable in self.get_retained_inputs())
        grad_logits = self._grad_logits(grad_outputs[0].array)
        # A product with ones sums over the rows in half the time of sum().
        ones = chainer.backend.get_array_module(h).ones(len(h), h.dtype)
        gradients = grad_logits @ W, grad_logits.T @ h, ones @ grad_logits
        return tuple(chainer.as_variable(gradients[i]) for i in indexes)

    def _grad_logits(self, grad_loss):
        if self.exponentials is None:
            raise RuntimeError('the first backward pass has overwritten the buffer of this loss')
        grad_logits, self.exponentials = self.exponentials, None
        xp = chainer.backend.get_array_module(grad_logits)
        scale = grad_loss / len(grad_logits)
        grad_logits *= (scale / self.sums)[:, None]
        if self.label_smoothing:
            grad_logits -= scale * self.label_smoothing / grad_logits.shape[1]
        grad_logits[xp.arange(len(grad_logits)), self.targets] -= scale * (1 - self.label_smoothing)
        return grad_logits


def _exponentiate(logits, b, targets, target_logits, means, sums):
    """Adds the biases to products (R, V) and replaces them by their exponentials.

    The maximum of each row is subtracted first. Writes the logits of the targets, the mean
    logits (unless ``means`` is None) and the sums of the exponentials, all (R,).
    """
    xp = chainer.backend.get_array_module(logits)
    logits += b
    logits -= logits.max(axis=1)[:, None]
    target_logits[...] = logits[xp.arange(len(logits)), targets]
    if means is not None:
        logits.mean(axis=1, out=means)
    xp.exp(logits, out=logits)
    logits.sum(axis=1, out=sums)


def _row_blocks(array):
    """Yields slices of rows: few on a CPU, where they stay in the cache, all on a GPU."""
    n_rows = BLOCK_ROWS if isinstance(array, numpy.ndarray) else len(array)
    for row in range(0, len(array), n_rows):
        yield slice(row, row + n_rows)
