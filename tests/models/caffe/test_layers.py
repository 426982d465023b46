"""Compares layers for inference with Chainer's own, which are their specification."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer.utils.type_check import InvalidType
from hypothesis import given, settings
from hypothesis import strategies as st

from models.caffe.layers import Convolution, max_pooling_2d, relu_in_place

CPU = chainer.get_device('@numpy')
to_cpu = CPU.send


def random_images(*shape):
    return numpy.random.RandomState(0).randn(*shape).astype('float32')


def make_convolution(device, n_in, n_out, ksize, **options):
    link = L.Convolution2D(n_in, n_out, ksize, **options)
    if link.b is not None:
        link.b.array[:] = random_images(n_out)
    return link.to_device(device)


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    actual, expected = to_cpu((actual.array, expected.array))
    scale = max(1, abs(expected).max())
    numpy.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * scale)


@settings(max_examples=60)
@given(
    n=st.integers(1, 3),
    n_in=st.sampled_from([1, 3, 16, 17]),
    height=st.integers(5, 19),
    width=st.integers(5, 19),
    ksize=st.sampled_from([1, 2, 3, 5]),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    dilate=st.integers(1, 2),
    nobias=st.booleans(),
)
def test_convolution_matches_chainer(
    device, n, n_in, height, width, ksize, stride, pad, dilate, nobias
):
    if dilate * (ksize - 1) >= 5:
        dilate = 1
    link = make_convolution(
        device, n_in, 5, ksize, stride=stride, pad=pad, dilate=dilate, nobias=nobias
    )
    x = device.send(random_images(n, n_in, height, width))
    with chainer.no_backprop_mode():
        assert_close(Convolution(link)(x), link(x))


@pytest.mark.parametrize(
    'n, n_in, n_out, size, block',
    [
        (1, 16, 8, 4, 1),
        (2, 64, 32, 28, 1 << 16),
        (5, 32, 48, 14, 1 << 18),
        (1, 20, 16, 57, 1 << 15),
    ],
)
def test_winograd_convolution_matches_chainer_in_blocks_of_any_size(
    device, monkeypatch, n, n_in, n_out, size, block
):
    for name in 'BLOCK_CPU', 'BLOCK_GPU':
        monkeypatch.setattr(f'models.caffe.layers.{name}', block)
    link = make_convolution(device, n_in, n_out, 3, pad=1)
    x = device.send(random_images(n, n_in, size, size))
    with chainer.no_backprop_mode():
        assert_close(Convolution(link)(x), link(x))


def test_convolutions_can_be_chained(device):
    links = [
        make_convolution(device, 3, 16, 3, pad=1),
        make_convolution(device, 16, 4, 3),
        make_convolution(device, 4, 6, 1),
    ]
    x = y = device.send(random_images(2, 3, 9, 11))
    with chainer.no_backprop_mode():
        for link in links:
            x, y = Convolution(link)(x), link(y)
    assert_close(x, y)


def test_convolution_uses_weights_changed_by_training(device):
    link = make_convolution(device, 16, 4, 3)
    convolution = Convolution(link)
    x = device.send(random_images(1, 16, 6, 6))
    for factor in 1, 2:
        with chainer.no_backprop_mode():
            assert_close(convolution(x), link(x))
        F.sum(convolution(x)).backward()
        assert link.W.grad is not None
        link.W.array *= factor  # in place, like an optimizer
    with chainer.no_backprop_mode():
        assert_close(convolution(x), link(x))


@pytest.mark.parametrize(
    'shape, error', [((1, 3, 9, 9), InvalidType), ((1, 16, 2, 9), AssertionError)]
)
def test_unsuitable_images_raise_the_errors_of_chainer(shape, error):
    with chainer.no_backprop_mode(), pytest.raises(error):
        Convolution(make_convolution(CPU, 16, 4, 3))(random_images(*shape))


@settings(max_examples=60)
@given(
    height=st.integers(1, 15),
    width=st.integers(1, 15),
    ksize=st.integers(1, 4),
    stride=st.integers(1, 4),
    pad=st.integers(0, 3),
)
def test_max_pooling_matches_chainer(device, height, width, ksize, stride, pad):
    pad = min(pad, ksize - 1)
    x = device.send(random_images(2, 3, max(height, ksize), max(width, ksize)))
    expected = to_cpu(F.max_pooling_2d(x, ksize, stride, pad).array)
    with chainer.no_backprop_mode():
        y = max_pooling_2d(x, ksize, stride, pad)
    # Chainer pads with -inf, too, which is the maximum of a window that covers no pixel.
    numpy.testing.assert_array_equal(to_cpu(y.array), expected)
    y = max_pooling_2d(x, ksize, stride, pad)
    numpy.testing.assert_array_equal(to_cpu(y.array), expected)


def test_window_larger_than_the_image_raises_the_error_of_chainer():
    with chainer.no_backprop_mode(), pytest.raises(AssertionError):
        max_pooling_2d(random_images(1, 1, 1, 1), 3, 1, 0)


def test_relu_works_in_place_only_without_gradients(device):
    before = random_images(4, 5)
    x = chainer.Variable(device.send(before.copy()))
    y = relu_in_place(x)
    F.sum(y).backward()
    numpy.testing.assert_array_equal(to_cpu(x.array), before)
    numpy.testing.assert_array_equal(to_cpu(x.grad), before > 0)
    with chainer.no_backprop_mode():
        assert relu_in_place(x) is x
    numpy.testing.assert_array_equal(to_cpu(x.array), numpy.maximum(before, 0))
