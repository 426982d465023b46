"""Random numbers that kernels compute, see ``random.cuh``."""

import numpy


def random_key():
    """Draws a key for ``random.cuh`` from ``numpy.random``.

    Returns:
        int: 63 bits, which fit into the ``long long`` that kernels get.
    """
    return int.from_bytes(numpy.random.bytes(8), 'little') >> 1
