"""Show and Tell in Chainer's own links and functions, as the paper describes it.

It computes what :mod:`models.show_and_tell` does, more slowly, and reads the same files. Equations
are those of Section 3 of the paper (arXiv:1411.4555).
"""

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import initializers

from models.network import Network


class LSTM(chainer.Link):
    """One step of an LSTM (Eqs. 4-8).

    Args:
        in_size (int): Size E of the inputs.
        hidden_size (int): Size H of the cells and of the output.
    """

    def __init__(self, in_size, hidden_size):
        super().__init__()
        with self.init_scope():
            # The rows of the weights belong to the input, forget and output gates and to the input
            # of the cells, H each.
            self.W_x = chainer.Parameter(initializers.LeCunNormal(), (4 * hidden_size, in_size))
            self.W_h = chainer.Parameter(initializers.LeCunNormal(), (4 * hidden_size, hidden_size))
            self.b = chainer.Parameter(0, (4 * hidden_size,))
        self.b.array[hidden_size : 2 * hidden_size] = 1  # remember, until trained to forget

    def forward(self, x, c, h):
        """Takes inputs (n, E), cells (n, H) and outputs (n, H); returns new cells and outputs."""
        i, f, o, g = F.split_axis(F.linear(x, self.W_x, self.b) + F.linear(h, self.W_h), 4, axis=1)
        c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)  # Eqs. 4, 5 and 7
        # Eq. 6 and, with the usual tanh, Eq. 8, where the output is called m.
        h = F.sigmoid(o) * F.tanh(c)
        return c, h


class PlainShowAndTell(Network):
    """An LSTM that is shown an image and then the tokens of a caption, and predicts the next one.

    Args:
        See :class:`models.network.Network`. Images are projected to ``embed_size``, too, and the
        paper has one layer. Dropout acts on the features, on every input of an LSTM and on the
        output of the last one.
    """

    lstm_class = LSTM  # a faster one may take its place

    def __init__(
        self,
        feature_size,
        vocabulary_size,
        embed_size=512,
        hidden_size=512,
        dropout=0.5,
        n_layers=1,
    ):
        super().__init__(feature_size, vocabulary_size, embed_size, hidden_size, dropout, n_layers)
        with self.init_scope():
            self.image_projection = L.Linear(feature_size, embed_size)  # W_i
            self.embedding = L.EmbedID(vocabulary_size, embed_size)  # W_e
            self.lstm = chainer.ChainList(
                *(
                    self.lstm_class(hidden_size if layer else embed_size, hidden_size)
                    for layer in range(n_layers)
                )
            )
            self.output = L.Linear(hidden_size, vocabulary_size)  # W_o

    def start(self, features):
        """Shows images (B, D), once; the state is ``c`` and ``h`` of each layer, (B, H)."""
        zeros = self.xp.zeros((len(features), self.output.W.shape[1]), self.output.W.dtype)
        features = F.dropout(self.standardize(features), self.dropout)
        image = self.image_projection(features)  # Eq. 10: x_{-1} = W_i CNN(I)
        return self._advance(image, (zeros, zeros) * len(self.lstm))

    def step(self, tokens, state):
        """Feeds tokens (n,); returns log-probabilities of the next ones, (n, V), and the state."""
        state = self._advance(self.embedding(tokens), state)  # Eq. 11: x_t = W_e S_t
        h = F.dropout(state[-1], self.dropout)
        return F.log_softmax(self.output(h)), state  # Eq. 12: p_{t+1} = softmax(W_o LSTM(x_t))

    def _advance(self, x, state):
        new_state = ()
        for lstm, c, h in zip(self.lstm, state[::2], state[1::2]):
            c, x = lstm(F.dropout(x, self.dropout), c, h)
            new_state += c, x
        return new_state
