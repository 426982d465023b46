from models.drawing import draw

import numpy
import pytest


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_words_are_drawn_as_often_as_they_are_probable(dtype):
    numpy.random.seed(0)
    n = 40000
    probabilities = numpy.array([[.2, .5, 0, .3], [0, 0, 1, 0], [.1, 0, .9, 0]])
    with numpy.errstate(divide='ignore'):
        logits = numpy.log(probabilities).astype(dtype) + 3
    words = draw(logits, numpy.repeat([2, 0, 1], n))
    assert words.dtype == 'int32'
    for row, drawn in zip((2, 0, 1), words.reshape(3, n)):
        counts = numpy.bincount(drawn, minlength=4)
        assert counts / n == pytest.approx(probabilities[row], abs=.01)
        assert not counts[probabilities[row] == 0].any()


@pytest.mark.parametrize('number, word', [(0, 0), (numpy.nextafter(1, 0), 2)])
def test_the_lowest_and_highest_random_numbers_stay_in_their_row(monkeypatch, number, word):
    monkeypatch.setattr(numpy.random, 'rand', lambda n: numpy.full(n, number))
    logits = numpy.log(numpy.full((30000, 3), 1 / 3, 'float32'))
    assert (draw(logits, numpy.arange(30000)) == word).all()


def test_unlikely_words_are_drawn_too():
    numpy.random.seed(0)
    logits = numpy.zeros((1, 10000), 'float32')
    counts = numpy.bincount(draw(logits, numpy.zeros(10 ** 6, int)), minlength=10000)
    assert counts.mean() == 100
    assert counts.std() == pytest.approx(10, rel=.05)
