"""Log-probabilities of tokens from the output layer."""

import numpy
from chainer.backends import cuda

from models.fast.kernels import launch_blocks, load_kernel

SOURCE = 'models/fast/log_softmax.cu'


def linear_log_softmax(h, W, b):
    """Computes log-probabilities, outside any computational graph.

    Args:
        h (array): Hidden states, (n, H), floating point.
        W (array): Weights, (V, H).
        b (array): Biases, (V,).

    Returns:
        array: Log-probabilities of the tokens, in nats, (n, V).
    """
    logits = h @ W.T
    if not isinstance(h, numpy.ndarray):
        kernel = load_kernel(SOURCE, 'log_softmax', T=logits.dtype)
        b = cuda.cupy.ascontiguousarray(b, logits.dtype)
        launch_blocks(kernel, len(logits), logits, b, len(W))
        return logits
    logits += b
    logits -= logits.max(axis=1, keepdims=True)
    logits -= numpy.log(numpy.exp(logits).sum(axis=1, keepdims=True))
    return logits
