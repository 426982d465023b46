import chainer
import chainer.functions as F
import numpy
import pytest

from models.fast.log_softmax import linear_log_softmax


@pytest.mark.parametrize('dtype, rtol', [('float32', 1e-4), ('float64', 1e-12)])
@pytest.mark.parametrize('n_rows, n_tokens', [(0, 5), (3, 5), (2, 600)])
def test_matches_chainer(device, dtype, rtol, n_rows, n_tokens):
    rng = numpy.random.RandomState(0)
    shapes = (n_rows, 4), (n_tokens, 4), (n_tokens,)
    h, W, b = (10 * rng.randn(*shape).astype(dtype) for shape in shapes)
    log_probs = linear_log_softmax(*device.send((h, W, b)))
    assert log_probs.dtype == dtype
    numpy.testing.assert_allclose(
        chainer.get_device('@numpy').send(log_probs),
        F.log_softmax(F.linear(h, W, b)).array,
        rtol=rtol,
        atol=rtol,
    )
