import chainer.links as L
import numpy

from models.plain import LSTM


def chainer_gates(rows):
    """Reorders the blocks i, f, o, g of rows into those of Chainer's LSTM, g, i, f, o, g, i, ..."""
    i, f, o, g = numpy.split(rows, 4)
    return numpy.stack((g, i, f, o), axis=1).reshape(rows.shape)


def test_lstm_computes_what_chainer_does():
    numpy.random.seed(0)
    x = numpy.random.randn(3, 2, 5).astype('float32')
    lstm = LSTM(5, 4)
    chainer_lstm = L.LSTM(5, 4)
    chainer_lstm.upward.W.array[:] = chainer_gates(lstm.W_x.array)
    chainer_lstm.upward.b.array[:] = chainer_gates(lstm.b.array)
    chainer_lstm.lateral.W.array[:] = chainer_gates(lstm.W_h.array)
    c = h = numpy.zeros((2, 4), 'float32')
    for inputs in x:
        c, h = lstm(inputs, c, h)
        numpy.testing.assert_allclose(h.array, chainer_lstm(inputs).array, atol=1e-6)
