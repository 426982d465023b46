"""Numerical gradients. Chainer's gradient_check wants pkg_resources, which setuptools dropped."""

import chainer
import chainer.functions as F
import numpy


def assert_gradients_are_numerical(function, arrays, step=1e-6):
    """Compares the gradients of a random weighting of a function's output, in float64.

    Args:
        function (callable): Takes variables, returns one.
        arrays (sequence of array): The arguments, float64.
    """
    variables = [chainer.Variable(array.copy()) for array in arrays]
    y = function(*variables)
    weights = numpy.random.RandomState(7).randn(*y.shape)
    F.sum(y * weights).backward()
    for position, variable in enumerate(variables):
        numerical = numpy.empty_like(variable.array)
        for index in numpy.ndindex(variable.shape):
            sums = []
            for shift in step, -step:
                shifted = [array.copy() for array in arrays]
                shifted[position][index] += shift
                sums.append((function(*shifted).array * weights).sum())
            numerical[index] = (sums[0] - sums[1]) / (2 * step)
        numpy.testing.assert_allclose(variable.grad, numerical, rtol=1e-5, atol=1e-7)
