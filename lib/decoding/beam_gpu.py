"""A step of beam search in CuPy: a single kernel that keeps everything on the GPU."""

import numpy
from chainer.backends import cuda

from lib.captions.vocabulary import EOS
from lib.decoding.beam_cpu import Slots
from models.fast.kernels import load_kernel

SOURCE = 'lib/decoding/beam_gpu.cu'
# Tokens of a group, of which the kernel keeps only the best that is left.
GROUP = 128
THREADS = 512


def extend(slots, unfinished, log_probs, ranked, n_steps, length_normalization, top):
    """As :func:`lib.decoding.beam_cpu.extend`."""
    empty = cuda.cupy.empty
    n_rows, n_tokens = log_probs.shape
    n_images, width, max_length = slots.tokens.shape
    n_groups = -(-n_tokens // GROUP)
    extended = Slots(*(empty(array.shape, array.dtype) for array in slots))
    # Struct Scratch of beam_gpu.cu.
    scratch = (
        empty((n_rows, n_groups), log_probs.dtype),
        empty((n_rows, n_groups), 'int32'),
        empty(n_rows, 'int32'),
        empty((n_images, 2 * width), 'float64'),
        empty((n_images, width), 'int32'),
    )
    load_kernel(SOURCE, 'extend', T=log_probs.dtype, GROUP=GROUP)(
        (n_images, 1, 1),
        (THREADS, 1, 1),
        (
            _addresses(slots),
            _addresses(extended),
            _addresses(scratch),
            log_probs,
            ranked,
            unfinished,
            n_rows,
            width,
            n_tokens,
            max_length,
            n_steps,
            float(length_normalization),
            top,
            EOS,
        ),
    )
    return extended


def _addresses(arrays):
    """Returns a struct of the addresses of arrays, as a kernel takes it."""
    pointers = numpy.array([array.data.ptr for array in arrays], 'uint64')
    return pointers.view(f'V{pointers.nbytes}')[0]
