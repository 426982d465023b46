"""Checks that several tests make."""

import chainer
import chainer.functions as F
import numpy


def assert_input_error(process, *parts):
    """Checks for exit code 2 and one line, after notes, that contains all ``parts``."""
    assert process.returncode == 2, process.stderr
    *notes, error = process.stderr.splitlines()
    assert all(note.startswith('note: ') for note in notes), process.stderr
    assert error.startswith('error: ')
    for part in parts:
        assert str(part) in error


def assert_same_captions(actual, expected, atol=1e-4):
    """Checks that captions have the same tokens and nearly the same log-probabilities."""
    assert [caption.tokens for caption in actual] == [caption.tokens for caption in expected]
    numpy.testing.assert_allclose(
        [caption.log_prob for caption in actual],
        [caption.log_prob for caption in expected],
        atol=atol,
    )


def assert_gradients_are_numerical(function, arrays, step=1e-6):
    """Compares the gradients of a random weighting of a function's output, in float64.

    Chainer's own ``gradient_check`` needs pkg_resources, which setuptools dropped.

    Args:
        function (callable): Takes variables, returns one.
        arrays (sequence of array): The arguments, float64, on the device to compute on.
    """
    variables = [chainer.Variable(array.copy()) for array in arrays]
    y = function(*variables)
    weights = numpy.asarray(numpy.random.RandomState(7).randn(*y.shape))
    F.sum(y * y.device.send(weights)).backward()
    to_cpu = chainer.get_device('@numpy').send
    for position, variable in enumerate(variables):
        numerical = numpy.empty(variable.shape)
        for index in numpy.ndindex(variable.shape):
            sums = []
            for shift in step, -step:
                shifted = [array.copy() for array in arrays]
                shifted[position][index] += shift
                sums.append((to_cpu(function(*shifted).array) * weights).sum())
            numerical[index] = (sums[0] - sums[1]) / (2 * step)
        numpy.testing.assert_allclose(to_cpu(variable.grad), numerical, rtol=1e-5, atol=1e-7)
