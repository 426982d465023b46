"""The specification of the network: one time step after another, with Chainer's own links."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy


class PlainShowAndTell(chainer.Chain):
    """Equals ``models.ShowAndTell`` with dropout 0, one sentence and one word at a time."""

    def __init__(self, feature_size, vocabulary_size, embed_size, hidden_size,
                 n_layers=1):
        super().__init__()
        with self.init_scope():
            self.image_projection = L.Linear(feature_size, embed_size)
            self.embedding = L.EmbedID(vocabulary_size, embed_size)
            self.lstm = chainer.Sequential(L.LSTM(embed_size, hidden_size), *(
                L.LSTM(hidden_size, hidden_size) for _ in range(n_layers - 1)))
            self.output = L.Linear(hidden_size, vocabulary_size)

    def sentence_loss(self, feature, inputs, targets):
        """Sum over the words of the negative log-likelihood of one sentence."""
        for layer in self.lstm:
            layer.reset_state()
        self.lstm(self.image_projection(feature[None]))
        loss = 0
        for word, target in zip(inputs, targets):
            h = self.lstm(self.embedding(numpy.array([word], 'int32')))
            loss += F.softmax_cross_entropy(self.output(h), numpy.array([target], 'int32'))
        return loss

    def copy_from(self, model):
        for name in 'image_projection', 'embedding', 'output':
            getattr(self, name).copyparams(getattr(model, name))
        for own, layer in zip(self.lstm, model.lstm):
            own.upward.W.array[:] = chainer_gates(layer.W_x.array)
            own.upward.b.array[:] = chainer_gates(layer.b.array)
            own.lateral.W.array[:] = chainer_gates(layer.W_h.array)


def chainer_gates(rows):
    """Reorders blocks i, f, o, g into Chainer's interleaved rows g, i, f, o, g, i, ..."""
    i, f, o, g = numpy.split(rows, 4)
    return numpy.stack((g, i, f, o), axis=1).reshape(rows.shape)
