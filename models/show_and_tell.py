"""Show and Tell, faster: it computes what :mod:`models.plain` does, with fused functions."""

import chainer
import chainer.functions as F
import numpy

from models.fast.linear_softmax_cross_entropy import linear_softmax_cross_entropy
from models.fast.log_softmax import linear_log_softmax
from models.fast.lstm_inputs import lstm_inputs
from models.fast.packed_lstm import PackedLSTM
from models.plain import PlainShowAndTell


class ShowAndTell(PlainShowAndTell):
    """Show and Tell with the arguments and parameters of :class:`models.plain.PlainShowAndTell`.

    Example:
        >>> network = ShowAndTell(feature_size=4096, vocabulary_size=8791)
        >>> features = numpy.zeros((2, 4096), 'float32')
        >>> state = network.start(features)
        >>> log_probs, state = network.step(numpy.array([0, 0], 'int32'), state)
        >>> log_probs.shape
        (2, 8791)
    """

    lstm_class = PackedLSTM

    def losses(self, batch):
        """See :meth:`models.network.Network.losses`."""
        return linear_softmax_cross_entropy(
            self._hidden(batch),
            self.output.W,
            self.output.b,
            batch.targets,
            self.label_smoothing,
            batch.divisor,
        )

    def weighted_loss(self, batch, weights):
        """See :meth:`models.network.Network.weighted_loss`."""
        logits = self.output(self._hidden(batch))
        return F.sum(weights * F.softmax_cross_entropy(logits, batch.targets, reduce='no'))

    def predictor(self, batch):
        """See :meth:`models.network.Network.predictor`."""
        with chainer.no_backprop_mode():
            h = self._hidden(batch).array

        def predict(rows):
            logits = h[rows] @ self.output.W.array.T
            logits += self.output.b.array
            return logits

        return predict

    def _hidden(self, batch):
        """Returns the states from which the tokens of a batch are predicted, (R, H)."""
        x = lstm_inputs(
            batch.features,
            batch.inputs,
            self.image_projection.W,
            self.image_projection.b,
            self.embedding.W,
            self.feature_mean,
            self.feature_scale,
            self.dropout,
        )
        for layer in self.lstm:
            x = layer(
                x,
                # The image is a step of its own.
                (batch.captions_per_step[0], *batch.captions_per_step),
                self.dropout,
                # Nothing is predicted from it.
                skip_first_step=layer is self.lstm[-1],
            )
        return x

    def start(self, features):
        """Shows images (B, D); the state is ``c`` and ``h`` of each layer, (B, H)."""
        with chainer.no_backprop_mode():
            image = self.image_projection(self.standardize(features)).array
        state = sum((layer.start(len(features)) for layer in self.lstm), ())
        return self._step(self.lstm[0].input_gates(image), state)

    def step(self, tokens, state):
        """Feeds tokens (n,); returns log-probabilities of the next ones, (n, V), and the state."""
        embeddings = self.embedding.W.array
        input_gates = self.lstm[0].input_gates
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
