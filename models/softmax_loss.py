"""The output layer and its loss as one function."""

import chainer


def linear_softmax_cross_entropy(h, W, b, targets):
    """Mean softmax cross-entropy of a linear layer over the vocabulary.

    This is Eq. 13 of Show and Tell, averaged over the words. The logits of a minibatch are
    by far its largest array (words x vocabulary), so they live in one buffer, which is
    turned in place into exponentials, and into their gradient on the way back.

    Args:
        h (chainer.Variable): Hidden states, (R, H), floating point.
        W (chainer.Variable): Weights, (V, H).
        b (chainer.Variable): Biases, (V,).
        targets (array): Indices of the right words, (R,), integers below V.

    Returns:
        tuple of chainer.Variable: The loss in nats a word, and the share of rows whose
        target has the largest logit; both scalars. Gradients flow through the loss only.
    """
    return LinearSoftmaxCrossEntropy(targets).apply((h, W, b))


class LinearSoftmaxCrossEntropy(chainer.FunctionNode):
    """See :func:`linear_softmax_cross_entropy`."""

    def __init__(self, targets):
        super().__init__()
        self.targets = targets
        self.exponentials = self.sums = None

    def forward(self, inputs):
        h, W, b = inputs
        xp = chainer.backend.get_array_module(h)
        rows = xp.arange(len(h))

        logits = h @ W.T
        logits += b
        largest = logits.max(axis=1)
        logits -= largest[:, None]
        target_logits = logits[rows, self.targets]
        accuracy = (target_logits == 0).mean(dtype=h.dtype)
        exponentials = xp.exp(logits, out=logits)
        sums = exponentials.sum(axis=1)
        loss = (xp.log(sums) - target_logits).mean()

        self.retain_inputs((0, 1))
        if chainer.config.enable_backprop:
            self.exponentials, self.sums = exponentials, sums
        return xp.asarray(loss), xp.asarray(accuracy)

    def backward(self, indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('linear_softmax_cross_entropy has no second derivative')
        h, W = (variable.array for variable in self.get_retained_inputs())
        grad_logits = self._grad_logits(grad_outputs[0].array)
        gradients = grad_logits @ W, grad_logits.T @ h, grad_logits.sum(axis=0)
        return tuple(chainer.as_variable(gradients[i]) for i in indexes)

    def _grad_logits(self, grad_loss):
        if self.exponentials is None:
            raise RuntimeError('the buffer of this loss was used up by its first backward pass')
        grad_logits, self.exponentials = self.exponentials, None
        xp = chainer.backend.get_array_module(grad_logits)
        scale = grad_loss / len(grad_logits)
        grad_logits *= (scale / self.sums)[:, None]
        grad_logits[xp.arange(len(grad_logits)), self.targets] -= scale
        return grad_logits
