"""What the LSTM takes: projected images, then embedded tokens."""

import chainer
import numpy
import scipy

from models.fast.dropout import dropout_argument, dropout_mask
from models.fast.kernels import launch, launch_blocks, load_kernel

SOURCE = 'models/fast/lstm_inputs.cu'


def lstm_inputs(features, tokens, W_i, b_i, W_e, mean, scale, dropout=0):
    """Projects images and embeds tokens (Eqs. 10 and 11 of Show and Tell).

    Dropout acts on the standardized features and on what is returned.

    Args:
        features (array): Image features, (B, D), floating point.
        tokens (array): Token indices, (R,), int32.
        W_i (chainer.Parameter): Weights of the projection, (E, D).
        b_i (chainer.Parameter): Its biases, (E,).
        W_e (chainer.Parameter): Embeddings of the tokens, (V, E).
        mean (array): Subtracted from the features, (D,).
        scale (array): Factor of the centered features, (D,).
        dropout (float): Share of the values that dropout sets to zero, in [0, 1).

    Returns:
        chainer.Variable: First the images, then the tokens, (B + R, E). Gradients flow to the
        parameters only.
    """
    return LSTMInputs(features, tokens, mean, scale, dropout).apply((W_i, b_i, W_e))[0]


class LSTMInputs(chainer.FunctionNode):
    """See :func:`lstm_inputs`."""

    def __init__(self, features, tokens, mean, scale, dropout=0):
        super().__init__()
        self.features = features
        self.tokens = tokens
        self.mean = mean
        self.scale = scale
        self.dropout = dropout
        self.n_images = len(features)

    def forward_cpu(self, inputs):
        W_i, b_i, W_e = inputs
        self.vocabulary_size = len(W_e)
        self.standardized = (self.features - self.mean) * self.scale
        mask = dropout_mask(self.standardized.shape, W_i.dtype, self.dropout)
        if mask is not None:
            self.standardized *= mask
        x = numpy.empty((self.n_images + len(self.tokens), len(W_i)), W_i.dtype)
        images, tokens = x[: self.n_images], x[self.n_images :]
        numpy.matmul(self.standardized, W_i.T, out=images)
        images += b_i
        tokens[...] = W_e[self.tokens]
        self.mask = dropout_mask(x.shape, x.dtype, self.dropout)
        if self.mask is not None:
            x *= self.mask
        return (x,)

    def forward_gpu(self, inputs):
        W_i, b_i, W_e = inputs
        self.vocabulary_size = len(W_e)
        xp = chainer.backend.get_array_module(W_i)
        dtype = W_i.dtype
        embed_size, feature_size = W_i.shape
        self.tokens = xp.ascontiguousarray(self.tokens, 'int32')
        self.standardized = xp.empty((self.n_images, feature_size), dtype)
        launch(
            load_kernel(SOURCE, 'standardize', T=dtype),
            self.standardized.shape,
            xp.ascontiguousarray(self.features, dtype),
            xp.ascontiguousarray(self.mean, dtype),
            xp.ascontiguousarray(self.scale, dtype),
            self.standardized,
            feature_size,
            dropout_argument(self.dropout),
        )
        x = xp.empty((self.n_images + len(self.tokens), embed_size), dtype)
        xp.matmul(self.standardized, W_i.T, out=x[: self.n_images])
        self.dropout_argument = dropout_argument(self.dropout)
        launch(
            load_kernel(SOURCE, 'embed', T=dtype),
            x.shape,
            x,
            b_i,
            W_e,
            self.tokens,
            self.n_images,
            embed_size,
            self.dropout_argument,
        )
        return (x,)

    def backward(self, indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('lstm_inputs has no second derivative')
        grad_x = grad_outputs[0].array
        on_cpu = isinstance(grad_x, numpy.ndarray)
        grad_images, grad_b, grad_W_e = (self._backward_cpu if on_cpu else self._backward_gpu)(
            grad_x
        )
        gradients = grad_images.T @ self.standardized, grad_b, grad_W_e
        return tuple(chainer.as_variable(gradients[i]) for i in indexes)

    def _backward_cpu(self, grad_x):
        """Returns the gradients of the projected images, the biases and the embeddings."""
        if self.mask is not None:
            grad_x = grad_x * self.mask
        grad_images, grad_tokens = numpy.split(grad_x, [self.n_images])
        # A sparse product adds up the rows of each token, in order; numpy.add.at is slower.
        is_token = scipy.sparse.csr_matrix(
            (
                numpy.ones(len(self.tokens), grad_x.dtype),
                self.tokens,
                numpy.arange(len(self.tokens) + 1),
            ),
            (len(self.tokens), self.vocabulary_size),
        )
        return grad_images, grad_images.sum(axis=0), is_token.T @ grad_tokens

    def _backward_gpu(self, grad_x):
        """As :meth:`_backward_cpu`."""
        xp = chainer.backend.get_array_module(grad_x)
        embed_size = grad_x.shape[1]
        grad_images, grad_b, grad_W_e = (
            xp.empty(shape, grad_x.dtype)
            for shape in (
                (self.n_images, embed_size),
                embed_size,
                (self.vocabulary_size, embed_size),
            )
        )
        launch_blocks(
            load_kernel(SOURCE, 'embed_backward', T=grad_x.dtype),
            self.vocabulary_size + 1,
            xp.ascontiguousarray(grad_x),
            self.tokens,
            grad_W_e,
            grad_b,
            grad_images,
            self.n_images,
            len(self.tokens),
            embed_size,
            self.dropout_argument,
        )
        return grad_images, grad_b, grad_W_e
