"""CUDA kernels from the ``.cu`` files beside the modules that launch them."""

import os
import re

import numpy
from chainer.backends import cuda

# Threads of a block.
BLOCK_SIZE = 256
TYPE_NAMES = {'e': 'half', 'f': 'float', 'd': 'double'}
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@cuda.memoize(for_each_device=True)
def load_kernel(path, name, **definitions):
    """Compiles a kernel, once per process and device; CuPy also caches it on disk.

    Args:
        path (str): The ``.cu`` file, relative to the root of the repository.
        name (str): The kernel, an ``extern "C"`` function.
        definitions: What the source leaves open: types of values, such as ``T='float32'``, and
            integers.

    Returns:
        cupy.cuda.Function: Takes the grid, the block and the kernel's arguments. Integers are
        passed as ``long long``, floats as ``double``. Unlike ``cupy.RawKernel`` it does not look
        itself up at each call, which halves the cost of a launch.
    """
    lines = []
    for letter, value in definitions.items():
        if not isinstance(value, int):
            value = TYPE_NAMES[numpy.dtype(value).char]
        if value == 'half':
            lines.append('#include <cuda_fp16.h>')
        lines.append(f'#define {letter} {value}')
    return cuda.cupy.RawKernel('\n'.join([*lines, _read(path)]), name).kernel


def launch(kernel, shape, *arguments):
    """Launches a kernel with a thread for each value of an array.

    Args:
        kernel (cupy.cuda.Function): From :func:`load_kernel`.
        shape (tuple of int): Rows and columns. Block (x, y) works on ``BLOCK_SIZE`` columns of row
            x, so that no thread has to divide.
        arguments: Of the kernel.
    """
    n_rows, n_columns = shape
    if n_rows and n_columns:
        kernel((n_rows, -(-n_columns // BLOCK_SIZE), 1), (BLOCK_SIZE, 1, 1), arguments)


def launch_blocks(kernel, n_blocks, *arguments):
    """Launches ``n_blocks`` blocks of ``BLOCK_SIZE`` threads."""
    if n_blocks:
        kernel((n_blocks, 1, 1), (BLOCK_SIZE, 1, 1), arguments)


def random_key():
    """Draws a key for ``random.cuh`` from ``numpy.random``.

    Returns:
        int: 63 bits, which fit into the ``long long`` that kernels get.
    """
    return int.from_bytes(numpy.random.bytes(8), 'little') >> 1


def _read(path):
    """Returns a source file with the files it includes, as CuPy's cache does not know those."""
    with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        return re.sub(r'#include "(.*)"\n', lambda match: _read(match[1]), file.read())
