"""Layers for inference against Chainer's own, which are their specification."""

from models.cnn_inference import Convolution, max_pooling_2d, relu_in_place

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer.utils.type_check import InvalidType
from hypothesis import given, settings
from hypothesis import strategies as st


def pictures(*shape):
    return numpy.random.RandomState(0).randn(*shape).astype('float32')


def make_link(n_in, n_out, ksize, **options):
    link = L.Convolution2D(n_in, n_out, ksize, **options)
    if link.b is not None:
        link.b.array[:] = pictures(n_out)
    return link


def assert_same(actual, expected):
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    scale = max(1, abs(expected.array).max())
    numpy.testing.assert_allclose(actual.array, expected.array, rtol=0, atol=1e-5 * scale)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3), n_in=st.sampled_from([1, 3, 16, 17]), height=st.integers(5, 19),
       width=st.integers(5, 19), ksize=st.sampled_from([1, 2, 3, 5]), stride=st.integers(1, 3),
       pad=st.integers(0, 2), dilate=st.integers(1, 2), nobias=st.booleans())
def test_convolution_equals_chainers(n, n_in, height, width, ksize, stride, pad, dilate, nobias):
    if dilate * (ksize - 1) >= 5:
        dilate = 1
    link = make_link(n_in, 5, ksize, stride=stride, pad=pad, dilate=dilate, nobias=nobias)
    x = pictures(n, n_in, height, width)
    with chainer.no_backprop_mode():
        assert_same(Convolution(link)(x), link(x))


@pytest.mark.parametrize('n, n_in, n_out, size, block', [
    (1, 16, 8, 4, 1), (2, 64, 32, 28, 1 << 16), (5, 32, 48, 14, 1 << 18), (1, 20, 16, 57, 1 << 15)])
def test_winograd_equals_chainers_in_blocks_of_any_size(monkeypatch, n, n_in, n_out, size, block):
    monkeypatch.setattr('models.cnn_inference.BLOCK_CPU', block)
    link = make_link(n_in, n_out, 3, pad=1)
    x = pictures(n, n_in, size, size)
    with chainer.no_backprop_mode():
        assert_same(Convolution(link)(x), link(x))


def test_one_convolution_may_follow_another():
    links = [make_link(3, 16, 3, pad=1), make_link(16, 4, 3), make_link(4, 6, 1)]
    x = y = pictures(2, 3, 9, 11)
    with chainer.no_backprop_mode():
        for link in links:
            x, y = Convolution(link)(x), link(y)
    assert_same(x, y)


def test_a_convolution_follows_its_link():
    link = make_link(16, 4, 3)
    convolution = Convolution(link)
    x = pictures(1, 16, 6, 6)
    for factor in 1, 2:
        with chainer.no_backprop_mode():
            assert_same(convolution(x), link(x))
        F.sum(convolution(x)).backward()
        assert link.W.grad is not None
        link.W.array *= factor    # as an optimiser does
    with chainer.no_backprop_mode():
        assert_same(convolution(x), link(x))


@pytest.mark.parametrize('shape, error', [
    ((1, 3, 9, 9), InvalidType), ((1, 16, 2, 9), AssertionError)])
def test_wrong_pictures_are_refused_as_chainer_does(shape, error):
    with chainer.no_backprop_mode(), pytest.raises(error):
        Convolution(make_link(16, 4, 3))(pictures(*shape))


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 15), width=st.integers(1, 15), ksize=st.integers(1, 4),
       stride=st.integers(1, 4), pad=st.integers(0, 3))
def test_max_pooling_equals_chainers(height, width, ksize, stride, pad):
    pad = min(pad, ksize - 1)
    x = pictures(2, 3, max(height, ksize), max(width, ksize))
    expected = F.max_pooling_2d(x, ksize, stride, pad)
    with chainer.no_backprop_mode():
        y = max_pooling_2d(x, ksize, stride, pad)
    # Chainer pads with -inf too, and with it alone where a window covers no pixel.
    numpy.testing.assert_array_equal(y.array, expected.array)
    numpy.testing.assert_array_equal(max_pooling_2d(x, ksize, stride, pad).array, expected.array)


def test_a_window_larger_than_the_picture_is_refused_as_chainer_does():
    with chainer.no_backprop_mode(), pytest.raises(AssertionError):
        max_pooling_2d(pictures(1, 1, 1, 1), 3, 1, 0)


def test_relu_works_in_place_without_gradients_only():
    x = chainer.Variable(pictures(4, 5))
    before = x.array.copy()
    y = relu_in_place(x)
    F.sum(y).backward()
    numpy.testing.assert_array_equal(x.array, before)
    numpy.testing.assert_array_equal(x.grad, before > 0)
    with chainer.no_backprop_mode():
        assert relu_in_place(x) is x
    numpy.testing.assert_array_equal(x.array, numpy.maximum(before, 0))
