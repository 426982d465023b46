"""CUDA kernels from the ``.cu`` files beside the modules that launch them."""

import os
import re

import numpy
from chainer.backends import cuda

# Threads of a block of the kernels that give each thread one value.
BLOCK_SIZE = 256
TYPE_NAMES = {'e': 'half', 'f': 'float', 'd': 'double'}
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@cuda.memoize(for_each_device=True)
def load_kernel(path, name, **types):
    """Compiles a kernel, once per process and device; CuPy also caches it on disk.

    Args:
        path (str): The ``.cu`` file.
        name (str): The kernel, an ``extern "C"`` function.
        types: Types that the source leaves open, such as ``T='float32'``.

    Returns:
        cupy.cuda.Function: Takes the grid, the block and the kernel's arguments. Integers are
        passed as ``long long``, floats as ``double``. Unlike ``cupy.RawKernel`` it does not look
        itself up at each call, which halves the cost of a launch.
    """
    names = {letter: TYPE_NAMES[numpy.dtype(dtype).char] for letter, dtype in types.items()}
    lines = [f'typedef {name} {letter};' for letter, name in names.items()]
    if 'half' in names.values():
        lines.insert(0, '#include <cuda_fp16.h>')
    return cuda.cupy.RawKernel('\n'.join([*lines, _read(path)]), name).kernel


def launch(kernel, n_threads, *arguments):
    """Launches a kernel with at least ``n_threads`` threads, in blocks of ``BLOCK_SIZE``."""
    if n_threads:
        kernel((-(-n_threads // BLOCK_SIZE), 1, 1), (BLOCK_SIZE, 1, 1), arguments)


def launch_blocks(kernel, n_blocks, *arguments):
    """Launches ``n_blocks`` blocks of ``BLOCK_SIZE`` threads."""
    if n_blocks:
        kernel((n_blocks, 1, 1), (BLOCK_SIZE, 1, 1), arguments)


def _read(path):
    """Returns a source file with the files it includes, as CuPy's cache does not know those."""
    with open(path, encoding='utf-8') as file:
        return re.sub(
            r'#include "(.*)"\n', lambda match: _read(os.path.join(ROOT, match[1])), file.read()
        )
