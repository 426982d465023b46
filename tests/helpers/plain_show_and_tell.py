"""A plain version of the network: one time step after another, with Chainer's own links."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest

from models.show_and_tell import ShowAndTell


class PlainShowAndTell(chainer.Chain):
    """Computes what ShowAndTell does without dropout, one caption and one token at a time."""

    def __init__(self, feature_size, vocabulary_size, embed_size, hidden_size, n_layers=1):
        super().__init__()
        with self.init_scope():
            self.image_projection = L.Linear(feature_size, embed_size)
            self.embedding = L.EmbedID(vocabulary_size, embed_size)
            self.lstm = chainer.Sequential(
                L.LSTM(embed_size, hidden_size),
                *(L.LSTM(hidden_size, hidden_size) for _ in range(n_layers - 1)),
            )
            self.output = L.Linear(hidden_size, vocabulary_size)

    def caption_loss(self, feature, inputs, targets):
        """Returns the negative log-likelihood of a caption, summed over its tokens."""
        for layer in self.lstm:
            layer.reset_state()
        self.lstm(self.image_projection(feature[None]))
        loss = 0
        for token, target in zip(inputs, targets):
            h = self.lstm(self.embedding(numpy.array([token], 'int32')))
            loss += F.softmax_cross_entropy(self.output(h), numpy.array([target], 'int32'))
        return loss

    def copy_from(self, model):
        """Copies the weights of a ShowAndTell."""
        for name in 'image_projection', 'embedding', 'output':
            getattr(self, name).copyparams(getattr(model, name))
        for plain_layer, layer in zip(self.lstm, model.lstm):
            plain_layer.upward.W.array[:] = chainer_gates(layer.W_x.array)
            plain_layer.upward.b.array[:] = chainer_gates(layer.b.array)
            plain_layer.lateral.W.array[:] = chainer_gates(layer.W_h.array)


def chainer_gates(rows):
    """Reorders the blocks i, f, o, g of PackedLSTM into Chainer's rows g, i, f, o, g, i, ..."""
    i, f, o, g = numpy.split(rows, 4)
    return numpy.stack((g, i, f, o), axis=1).reshape(rows.shape)


# Lengths of the captions of a batch.
LENGTHS = [
    pytest.param([1], id='one caption of one token'),
    pytest.param([7], id='batch of one'),
    pytest.param([3, 3, 3], id='equal lengths'),
    pytest.param([50, 12, 12, 4, 1, 1], id='1 to 50 tokens'),
]
TOLERANCE = {'float64': 1e-10, 'float32': 1e-4}


def make_batch(lengths, feature_size, vocabulary_size, dtype, seed=0):
    """Makes a batch of random captions, the longest first.

    Returns:
        tuple: Features, inputs and targets, a row or list for each caption; and inputs, targets
        and batch sizes as :class:`models.show_and_tell.ShowAndTell` takes them, packed.
    """
    rng = numpy.random.RandomState(seed)
    features = rng.randn(len(lengths), feature_size).astype(dtype)
    captions = [rng.randint(3, vocabulary_size, n) for n in lengths]
    inputs = [[0, *tokens] for tokens in captions]
    targets = [[*tokens, 1] for tokens in captions]
    steps = range(max(lengths) + 1)
    batch_sizes = [sum(step < len(tokens) for tokens in inputs) for step in steps]

    def pack(rows):
        return numpy.array(
            [rows[i][step] for step in steps for i in range(batch_sizes[step])], 'int32'
        )

    return features, inputs, targets, pack(inputs), pack(targets), batch_sizes


def packed_batch(device, lengths):
    """Returns a float64 batch of :func:`make_batch` as ShowAndTell takes it, on a device."""
    features, _, _, inputs, targets, batch_sizes = make_batch(lengths, 6, 11, 'float64')
    return *device.send((features, inputs, targets)), batch_sizes


def make_model(dtype, dropout=0.0, n_layers=1):
    """Returns a network with random weights and its plain twin."""
    numpy.random.seed(1)
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        model = ShowAndTell(6, 11, 5, 4, dropout, n_layers)
        plain = PlainShowAndTell(6, 11, 5, 4, n_layers)
    for param in model.params():
        param.array[...] += 0.3 * numpy.random.randn(*param.shape).astype(dtype)
    plain.copy_from(model)
    return model, plain
