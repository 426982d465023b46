"""The caption generator of Vinyals et al., *Show and Tell* (CVPR 2015, arXiv:1411.4555)."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from models.fast.linear_softmax_cross_entropy import linear_softmax_cross_entropy
from models.fast.log_softmax import linear_log_softmax
from models.fast.lstm_inputs import lstm_inputs
from models.fast.packed_lstm import PackedLSTM
from models.scheduled_sampling import apply_scheduled_sampling


def count_values(feature_size, vocabulary_size, embed_size, hidden_size, n_layers):
    """Returns how many numbers a :class:`ShowAndTell` of some size contains.

    >>> count_values(4096, 8791, embed_size=512, hidden_size=512, n_layers=1)
    13715543
    """
    features = 2 * feature_size + (feature_size + 1) * embed_size
    first_layer = 4 * hidden_size * (embed_size + hidden_size + 1)
    other_layers = (n_layers - 1) * 4 * hidden_size * (2 * hidden_size + 1)
    tokens = vocabulary_size * (embed_size + hidden_size + 1)
    return features + first_layer + other_layers + tokens


class ShowAndTell(chainer.Chain):
    """An LSTM that takes image features, then tokens, and predicts the next token.

    Eqs. 10-12 of the paper: ``x_{-1} = W_i CNN(I)``, ``x_t = W_e S_t``,
    ``p_{t+1} = softmax(W_o LSTM(x_t))``. The image is seen once, before ``<S>``. Dropout acts
    on the features, on every input of the LSTM and on its output.

    Args:
        feature_size (int): Size D of the image features.
        vocabulary_size (int): Number V of tokens, special ones included.
        embed_size (int): Size E of the embedding of tokens and images.
        hidden_size (int): Size H of the LSTM.
        dropout (float): Share of the values that dropout sets to zero, in [0, 1).
        n_layers (int): Number of stacked LSTMs; the paper has one.

    Attributes:
        loss_reduction (str): What training minimizes: ``'mean'``, the mean loss of all
            tokens, or ``'sentence'``, the mean over captions of the sum over their tokens,
            which is Eq. 13.
        label_smoothing (float): See
            :func:`models.fast.linear_softmax_cross_entropy.linear_softmax_cross_entropy`.
        sampling_probability (float): See
            :func:`models.scheduled_sampling.apply_scheduled_sampling`.
        feature_mean (array): Subtracted from the features, (D,); initially 0.
        feature_scale (array): Factor of the centered features, (D,); initially 1.

    Example:
        >>> network = ShowAndTell(feature_size=4096, vocabulary_size=8791)
        >>> features = numpy.zeros((2, 4096), 'float32')
        >>> state = network.start(features)
        >>> log_probs, state = network.step(numpy.array([0, 0], 'int32'), state)
        >>> log_probs.shape
        (2, 8791)
    """

    def __init__(
        self,
        feature_size,
        vocabulary_size,
        embed_size=512,
        hidden_size=512,
        dropout=0.5,
        n_layers=1,
    ):
        super().__init__()
        self.dropout = dropout
        self.loss_reduction, self.label_smoothing, self.sampling_probability = 'mean', 0, 0
        with self.init_scope():
            self.image_projection = L.Linear(feature_size, embed_size)
            self.embedding = L.EmbedID(vocabulary_size, embed_size)
            self.lstm = chainer.ChainList(
                *(
                    PackedLSTM(hidden_size if layer else embed_size, hidden_size)
                    for layer in range(n_layers)
                )
            )
            self.output = L.Linear(hidden_size, vocabulary_size)
        self.add_persistent('feature_mean', self.xp.zeros(feature_size, chainer.get_dtype()))
        self.add_persistent('feature_scale', self.xp.ones(feature_size, chainer.get_dtype()))

    @property
    def hyperparameters(self):
        """The arguments that make a network of the same shape."""
        return {
            'feature_size': len(self.feature_mean),
            'vocabulary_size': self.embedding.W.shape[0],
            'embed_size': self.embedding.W.shape[1],
            'hidden_size': self.output.W.shape[1],
            'dropout': self.dropout,
            'n_layers': len(self.lstm),
        }

    def forward(self, features, inputs, targets, batch_sizes, rows=None):
        """Computes and reports the loss of a packed batch of captions.

        Args:
            features (array): Image features, (N, D), float.
            inputs (array): ``<S>`` and the tokens of the captions, packed time-major (see
                :mod:`models.fast.packed_lstm`), (R,), int32.
            targets (array): The tokens and ``</S>``, packed alike, (R,), int32.
            batch_sizes (sequence of int): Captions at each time step; sums to R.
            rows (array): The row of ``features`` for each caption, the longest caption's first,
                (B,), int32; by default they are in this order.

        Returns:
            chainer.Variable: The loss that training minimizes, in nats. Reported are
            ``loss``, the mean negative log-likelihood of the R targets, and ``accuracy``, the
            share of them predicted correctly, both weighted by R, so that their means over
            batches are means over tokens.
        """
        if self.sampling_probability and chainer.config.train:
            with chainer.no_backprop_mode():
                h = self._hidden(features, inputs, batch_sizes, rows).array
            inputs = apply_scheduled_sampling(
                inputs, lambda rows: self._logits(h[rows]), batch_sizes, self.sampling_probability
            )
        h = self._hidden(features, inputs, batch_sizes, rows)
        smoothed_loss, loss, accuracy = linear_softmax_cross_entropy(
            h,
            self.output.W,
            self.output.b,
            targets,
            self.label_smoothing,
            batch_sizes[0] if self.loss_reduction == 'sentence' else len(targets),
        )
        chainer.report(
            {'loss': (loss.array, len(targets)), 'accuracy': (accuracy.array, len(targets))}, self
        )
        return smoothed_loss

    def weighted_loss(self, features, inputs, targets, batch_sizes, rows, weights):
        """Computes a weighted sum of the losses of single tokens.

        Args:
            features, inputs, targets, batch_sizes, rows: As for :meth:`forward`.
            weights (array): The weight of each target, (R,), float, of either sign.

        Returns:
            chainer.Variable: The sum, in nats.
        """
        logits = self.output(self._hidden(features, inputs, batch_sizes, rows))
        return F.sum(weights * F.softmax_cross_entropy(logits, targets, reduce='no'))

    def _hidden(self, features, inputs, batch_sizes, rows):
        """Returns the states from which tokens are predicted, (R, H)."""
        x = lstm_inputs(
            features,
            inputs,
            *(self.image_projection.W, self.image_projection.b, self.embedding.W),
            *(self.feature_mean, self.feature_scale, self.dropout, rows),
        )
        for layer in self.lstm:
            # Nothing is predicted from the step that takes the image.
            is_last = layer is self.lstm[-1]
            x = layer(x, (batch_sizes[0], *batch_sizes), self.dropout, skip_first_step=is_last)
        return x

    def start(self, features):
        """Feeds images to the LSTM.

        Args:
            features (array): (B, D), float.

        Returns:
            tuple of arrays: The state before ``<S>``: ``c`` and ``h`` of each layer, (B, H).
        """
        with chainer.no_backprop_mode():
            image = self.image_projection(self._standardize(features)).array
        state = sum((layer.start(len(features)) for layer in self.lstm), ())
        return self._step(self.lstm[0].input_gates(image), state)

    def step(self, tokens, state):
        """Feeds one token to each of n captions.

        Args:
            tokens (array): Token indices, (n,), int32.
            state (tuple of arrays): ``c`` and ``h`` of each layer, (n, H).

        Returns:
            tuple: Log-probabilities, in nats, of every next token, (n, V), and the new state.
        """
        embeddings, input_gates = self.embedding.W.array, self.lstm[0].input_gates
        if self.xp is numpy:
            # Many captions of a beam end with the same token; each is multiplied only once.
            distinct, inverse = numpy.unique(tokens, return_inverse=True)
            gates = input_gates(embeddings[distinct])[inverse]
        else:
            gates = input_gates(embeddings[tokens])
        state = self._step(gates, state)
        return linear_log_softmax(state[-1], self.output.W.array, self.output.b.array), state

    def _step(self, gates, state):
        """Advances all layers; ``gates`` is what the input adds to the first one's gates."""
        new_state = ()
        for layer, c, h in zip(self.lstm, state[::2], state[1::2]):
            if new_state:
                gates = layer.input_gates(new_state[-1])
            new_state += layer.step(gates, (c, h))
        return new_state

    def _logits(self, h):
        logits = h @ self.output.W.array.T
        logits += self.output.b.array
        return logits

    def _standardize(self, features):
        return (features - self.feature_mean) * self.feature_scale
