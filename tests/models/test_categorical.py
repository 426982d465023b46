import numpy
import pytest

from models.categorical import sample_categorical


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_indices_are_drawn_with_their_probabilities(dtype):
    numpy.random.seed(0)
    n = 40000
    probabilities = numpy.array([[0.2, 0.5, 0, 0.3], [0, 0, 1, 0], [0.1, 0, 0.9, 0]])
    with numpy.errstate(divide='ignore'):
        logits = numpy.log(probabilities).astype(dtype) + 3
    indices = sample_categorical(logits, numpy.repeat([2, 0, 1], n))
    assert indices.dtype == 'int32'
    for row, drawn in zip((2, 0, 1), indices.reshape(3, n)):
        counts = numpy.bincount(drawn, minlength=4)
        assert counts / n == pytest.approx(probabilities[row], abs=0.01)
        assert not counts[probabilities[row] == 0].any()


@pytest.mark.parametrize('random_number, index', [(0, 0), (numpy.nextafter(1, 0), 2)])
def test_extreme_random_numbers_stay_in_their_row(monkeypatch, random_number, index):
    monkeypatch.setattr(numpy.random, 'rand', lambda n: numpy.full(n, random_number))
    logits = numpy.log(numpy.full((30000, 3), 1 / 3, 'float32'))
    assert (sample_categorical(logits, numpy.arange(30000)) == index).all()


def test_improbable_indices_are_drawn():
    numpy.random.seed(0)
    logits = numpy.zeros((1, 10000), 'float32')
    counts = numpy.bincount(sample_categorical(logits, numpy.zeros(10**6, int)), minlength=10000)
    assert counts.mean() == 100
    assert counts.std() == pytest.approx(10, rel=0.05)
