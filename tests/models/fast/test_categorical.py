import chainer
import numpy
import pytest

from models.fast.categorical import sample_categorical

to_cpu = chainer.get_device('@numpy').send


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_indices_are_drawn_with_their_probabilities(device, dtype):
    numpy.random.seed(0)
    n = 40000 if device.xp is numpy else 5000
    probabilities = numpy.array([[0.2, 0.5, 0, 0.3], [0, 0, 1, 0], [0.1, 0, 0.9, 0]])
    with numpy.errstate(divide='ignore'):
        logits = numpy.log(probabilities).astype(dtype) + 3
    indices = to_cpu(sample_categorical(*device.send((logits, numpy.repeat([2, 0, 1], n)))))
    assert indices.dtype == 'int32'
    for row, drawn in zip((2, 0, 1), indices.reshape(3, n)):
        counts = numpy.bincount(drawn, minlength=4)
        assert counts / n == pytest.approx(probabilities[row], abs=2.5 / n**0.5)
        assert not counts[probabilities[row] == 0].any()


@pytest.mark.parametrize('random_number, index', [(0, 0), (numpy.nextafter(1, 0), 2)])
def test_extreme_random_numbers_stay_in_their_row(monkeypatch, random_number, index):
    monkeypatch.setattr(numpy.random, 'rand', lambda n: numpy.full(n, random_number))
    logits = numpy.log(numpy.full((30000, 3), 1 / 3, 'float32'))
    assert (sample_categorical(logits, numpy.arange(30000)) == index).all()


def test_each_distribution_is_drawn_from_once_by_default(device):
    numpy.random.seed(0)
    logits = numpy.full((5, 300), -100, 'float32')
    logits[numpy.arange(5), [7, 299, 0, 256, 7]] = 0
    assert to_cpu(sample_categorical(device.send(logits))).tolist() == [7, 299, 0, 256, 7]


def test_improbable_indices_are_drawn(device):
    numpy.random.seed(0)
    # A GPU draws a random number for each index of each sample.
    n = 10000 if device.xp is numpy else 400
    logits, rows = device.send((numpy.zeros((1, n), 'float32'), numpy.zeros(25 * n, int)))
    counts = numpy.bincount(to_cpu(sample_categorical(logits, rows)), minlength=n)
    assert counts.mean() == 25
    # Five standard deviations of the deviation of n independent counts.
    assert counts.std() == pytest.approx(5, rel=5 / (2 * n) ** 0.5)


def test_rows_of_nan_give_any_index(device):
    logits = numpy.full((6, 300), numpy.nan, 'float32')
    logits[3] = 0
    indices = to_cpu(sample_categorical(device.send(logits)))
    assert ((indices >= 0) & (indices < 300)).all()
