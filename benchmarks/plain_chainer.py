"""The Chainer program that everybody wrote: a loop over padded time steps."""

import chainer
import chainer.functions as F
import chainer.links as L


class PlainChainer(chainer.Chain):
    def __init__(self, feature_size, vocabulary_size, size, dropout=0.5):
        super().__init__()
        self.dropout = dropout
        with self.init_scope():
            self.image_projection = L.Linear(feature_size, size)
            self.embedding = L.EmbedID(vocabulary_size, size)
            self.lstm = L.LSTM(size, size)
            self.output = L.Linear(size, vocabulary_size)

    def forward(self, features, inputs, targets):
        """Returns the loss of tokens given as (steps, B), padded with -1."""
        self.lstm.reset_state()
        image = self.image_projection(F.dropout(features, self.dropout))
        self.lstm(F.dropout(image, self.dropout))
        loss = 0
        for tokens, next_tokens in zip(inputs, targets):
            x = F.dropout(self.embedding(tokens.clip(0)), self.dropout)
            h = F.dropout(self.lstm(x), self.dropout)
            loss += F.softmax_cross_entropy(self.output(h), next_tokens) * (next_tokens >= 0).sum()
        return loss / (targets >= 0).sum()
