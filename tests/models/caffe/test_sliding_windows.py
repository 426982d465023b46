import chainer
import numpy

from models.caffe.sliding_windows import sliding_windows


def test_windows_equal_those_of_numpy(device):
    images = numpy.arange(2 * 5 * 7 * 3).reshape(2, 5, 7, 3)
    expected = numpy.lib.stride_tricks.sliding_window_view(images, (2, 4), axis=(1, 2))
    images = device.send(images)
    windows = sliding_windows(images, 2, 4)
    numpy.testing.assert_array_equal(
        chainer.get_device('@numpy').send(windows), expected.transpose(0, 1, 2, 4, 5, 3)
    )
    # A view, not a copy.
    assert device.xp.shares_memory(windows, images)
