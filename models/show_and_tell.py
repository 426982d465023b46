"""The caption generator of Vinyals et al., *Show and Tell* (CVPR 2015, arXiv:1411.4555)."""

from models.dropout import dropout
from models.packed_lstm import PackedLSTM
from models.scheduled_sampling import mix_in_samples
from models.softmax_loss import linear_softmax_cross_entropy

import chainer
import chainer.functions as F
import chainer.links as L


class ShowAndTell(chainer.Chain):
    """Image features, then words, go through an LSTM that predicts the next word.

    Eqs. 10-12 of the paper: ``x_{-1} = W_i CNN(I)``, ``x_t = W_e S_t``,
    ``p_{t+1} = softmax(W_o LSTM(x_t))``. The image is seen once, before the start word.
    Dropout acts on the feature, on every LSTM input and on the LSTM output.

    Args:
        feature_size (int): Size D of the image features.
        vocabulary_size (int): Number V of words, the start and end words included.
        embed_size (int): Size E of the word embedding, which the image is projected to.
        hidden_size (int): Size H of the LSTM.
        dropout (float): Share of the values that dropout sets to zero, in [0, 1).
        n_layers (int): LSTMs on top of each other; the paper has one.

    Attributes:
        loss (str): What training minimises: ``'mean'``, the mean over the words of the negative
            log-likelihood, or ``'sentence'``, the mean over the sentences of its sum over a
            sentence's words, which is Eq. 13.
        label_smoothing (float): See :func:`models.softmax_loss.linear_softmax_cross_entropy`.
        sampling_chance (float): Chance that training feeds in, instead of a right word, one
            drawn from what the network predicts there (scheduled sampling, Bengio et al.,
            arXiv:1506.03099; all words of a minibatch at once as Duckworth et al. do,
            arXiv:1906.04331).
        feature_mean (array): Subtracted from the features, (D,). Zero at first.
        feature_scale (array): What they are then multiplied by, (D,). One at first.
    """

    def __init__(self, feature_size, vocabulary_size, embed_size=512, hidden_size=512,
                 dropout=0.5, n_layers=1):
        super().__init__()
        self.dropout = dropout
        self.loss, self.label_smoothing, self.sampling_chance = 'mean', 0, 0
        with self.init_scope():
            self.image_projection = L.Linear(feature_size, embed_size)
            self.embedding = L.EmbedID(vocabulary_size, embed_size)
            self.lstm = chainer.ChainList(*(
                PackedLSTM(hidden_size if layer else embed_size, hidden_size)
                for layer in range(n_layers)))
            self.output = L.Linear(hidden_size, vocabulary_size)
        self.add_persistent('feature_mean', self.xp.zeros(feature_size, chainer.get_dtype()))
        self.add_persistent('feature_scale', self.xp.ones(feature_size, chainer.get_dtype()))

    @property
    def hyperparameters(self):
        """The arguments that make a network of the same shape."""
        return {'feature_size': len(self.feature_mean),
                'vocabulary_size': self.embedding.W.shape[0],
                'embed_size': self.embedding.W.shape[1],
                'hidden_size': self.output.W.shape[1],
                'dropout': self.dropout,
                'n_layers': len(self.lstm)}

    def forward(self, features, inputs, targets, batch_sizes):
        """Computes and reports the loss of a packed minibatch of captions.

        Args:
            features (array): One row per caption, the longest caption's first, (B, D), float.
            inputs (array): Words fed in, packed time-major (see
                :mod:`models.packed_lstm`): ``<S>`` and the caption's words, (R,), int32.
            targets (array): Words to predict: the caption's words and ``</S>``, (R,), int32.
            batch_sizes (sequence of int): Captions running at each word; they sum to R.

        Returns:
            chainer.Variable: What training minimises, in nats; see the attributes. Reported
            are the mean over the R words of the negative log-likelihood as ``loss``, and the
            share of words predicted right as ``accuracy``, both weighted by R, so that
            their means over minibatches are means over words.
        """
        if self.sampling_chance and chainer.config.train:
            with chainer.no_backprop_mode():
                h = self._hidden(features, inputs, batch_sizes).array
            inputs = mix_in_samples(inputs, lambda rows: self._logits(h[rows]), batch_sizes,
                                    self.sampling_chance)
        h = self._hidden(features, inputs, batch_sizes)
        smooth_loss, loss, accuracy = linear_softmax_cross_entropy(
            h, self.output.W, self.output.b, targets, self.label_smoothing)
        chainer.report({'loss': (loss.array, len(targets)),
                        'accuracy': (accuracy.array, len(targets))}, self)
        return (smooth_loss if self.loss == 'mean'
                else smooth_loss * (len(targets) / len(features)))

    def _hidden(self, features, inputs, batch_sizes):
        """Returns the states that words are predicted from, (R, H)."""
        image = self.image_projection(dropout(self._standardize(features), self.dropout))
        words = self.embedding(inputs)
        x = dropout(F.concat((image, words), axis=0), self.dropout)
        for layer in self.lstm:
            h = layer(x, (len(features), *batch_sizes))
            x = h = dropout(h, self.dropout)
        return F.split_axis(h, [len(features)], axis=0)[1]    # the image predicts nothing

    def start(self, features):
        """Shows the images to the LSTM.

        Args:
            features (array): (B, D), float.

        Returns:
            tuple of arrays: The state before the start word: ``c`` and ``h`` of each layer,
            (B, H).
        """
        with chainer.no_backprop_mode():
            image = self.image_projection(self._standardize(features)).array
        state = sum((layer.start(len(features)) for layer in self.lstm), ())
        return self._step(self.lstm[0].input_gates(image), state)

    def step(self, tokens, state):
        """Feeds one word to each of n sentences.

        Args:
            tokens (array): Word indices, (n,), int32.
            state (tuple of arrays): ``c`` and ``h`` of each layer, (n, H).

        Returns:
            tuple: Log-probabilities in nats of every next word, (n, V), and the new state.
        """
        # Many sentences of a beam end in the same word, which is multiplied once.
        words, word_of = self.xp.unique(tokens, return_inverse=True)
        gates = self.lstm[0].input_gates(self.embedding.W.array[words])[word_of]
        state = self._step(gates, state)
        return _log_softmax(self._logits(state[-1])), state

    def _step(self, gates, state):
        """Advances all layers; ``gates`` is what the input adds to those of the first."""
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


def _log_softmax(logits):
    """Turns logits (n, V) into log-probabilities in place."""
    xp = chainer.backend.get_array_module(logits)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= xp.log(xp.exp(logits).sum(axis=1, keepdims=True))
    return logits
