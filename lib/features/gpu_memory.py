"""Where a GPU finds the features: in its own memory, in the host's, or on the disk."""

import math
import warnings

import numpy
from chainer.backends import cuda

from lib.errors import InputError, InputWarning
from lib.features.stored_features import StoredFeatures

# Share of a GPU's free memory that features may take; the rest is for training.
SHARE_OF_MEMORY = 0.7
# Bytes sent at a time.
BLOCK_BYTES = 1 << 26


def make_allocator(device, feature_type='float32'):
    """Returns what :func:`lib.features.feature_file.load_features` is to read features into.

    Args:
        device (chainer.backend.Device): Where they are needed.
        feature_type (str): Their type there, ``'float32'`` or ``'float16'``.

    Returns:
        callable: Takes a shape and a type, returns a NumPy array. If features do not fit into the
        GPU's memory, it is in page-locked memory, which the GPU can read.

    Raises:
        InputError: If float16 is wanted on a CPU.
    """
    if device.xp is numpy:
        if feature_type == 'float16':
            raise InputError('needs a GPU', option='float16_features')
        return numpy.empty

    def allocate(shape, dtype):
        if _fits_on_gpu(shape, feature_type):
            return numpy.empty(shape, dtype)
        return _allocate_page_locked(shape, dtype, feature_type)

    return allocate


def _fits_on_gpu(shape, feature_type):
    free, _ = cuda.cupy.cuda.runtime.memGetInfo()
    return math.prod(shape) * numpy.dtype(feature_type).itemsize <= SHARE_OF_MEMORY * free


def _allocate_page_locked(shape, dtype, feature_type):
    """Returns a NumPy array in page-locked memory, with a warning; only float32 is supported."""
    size = math.prod(shape)
    n_bytes = size * numpy.dtype(dtype).itemsize
    if feature_type == 'float16':
        raise InputError(
            f'{n_bytes / 2**30:.1f} GiB of features do not fit on the GPU in 16 bits either; '
            'without this option it reads them from the memory of the host',
            option='float16_features',
        )
    warnings.warn(
        f'{n_bytes / 2**30:.1f} GiB of features do not fit on the GPU, which reads them from '
        'the memory of the host',
        InputWarning,
        stacklevel=2,
    )
    cupy_cuda = cuda.cupy.cuda
    try:
        # Not from CuPy's pool, which rounds the size up to a power of two.
        memory = cupy_cuda.PinnedMemory(n_bytes)
    except cupy_cuda.runtime.CUDARuntimeError as error:
        raise InputError(f'not enough memory for features of {shape} {dtype} ({error})') from error
    pointer = cupy_cuda.PinnedMemoryPointer(memory, 0)
    return numpy.frombuffer(pointer, dtype, size).reshape(shape)


def send_features(array, device, feature_type='float32'):
    """Makes features available to a device.

    Args:
        array (array or StoredFeatures): Features, (N, D), float32, NumPy.
        device (chainer.backend.Device): Where they are needed.
        feature_type (str): Type in the GPU's memory, ``'float32'`` or ``'float16'``.

    Returns:
        array: The same array on a CPU; a copy in the GPU's memory; or, if the array is in
        page-locked memory (see :func:`make_allocator`), a CuPy array that shares it. Stored
        features stay where they are, and send their rows.

    Raises:
        InputError: If a value exceeds the range of float16.
    """
    if isinstance(array, StoredFeatures):
        array.to_device(device)
        return array
    if device.xp is numpy:
        return array
    if _page_locked(array) is None and not _fits_on_gpu(array.shape, feature_type):
        # Formats of limited size are read without the allocator.
        page_locked = _allocate_page_locked(array.shape, array.dtype, feature_type)
        page_locked[...], array = array, page_locked
    pointer = _page_locked(array)
    if pointer is not None:
        memory = cuda.cupy.cuda.UnownedMemory(pointer.ptr, array.nbytes, pointer)
        return cuda.cupy.ndarray(array.shape, array.dtype, cuda.cupy.cuda.MemoryPointer(memory, 0))
    # In blocks, since cupy.asarray keeps a page-locked copy of all that it is given.
    on_gpu = cuda.cupy.empty(array.shape, feature_type)
    n_rows = max(1, BLOCK_BYTES // (array.itemsize * array.shape[1]))
    for start in range(0, len(array), n_rows):
        with numpy.errstate(over='ignore'):
            block = numpy.ascontiguousarray(array[start : start + n_rows], feature_type)
        if feature_type == 'float16':
            _check_range(block, start)
        on_gpu[start : start + n_rows].set(block)
    return on_gpu


def _check_range(block, first_imgid):
    is_finite = numpy.isfinite(block).all(axis=1)
    if not is_finite.all():
        raise InputError(
            f'cannot be used: the features of imgid {first_imgid + is_finite.argmin()} exceed '
            '65504, the largest float16',
            option='float16_features',
        )


def make_fetcher(features):
    """Returns what fetches rows of features that are not in the memory of the device.

    Args:
        features (array or StoredFeatures): What :func:`send_features` returned.

    Returns:
        callable: Takes the indices of rows, (B,), int32, NumPy, and returns the rows, (B, D), on
        the device; None if all features are there.
    """
    if isinstance(features, StoredFeatures):
        # CuPy copies rows without a wait, so the host reads the next ones while the GPU computes.
        return lambda rows: features[rows]
    return RowPrefetcher(features) if is_in_host_memory(features) else None


def is_in_host_memory(features):
    """Returns whether a GPU has to read features (a CuPy or NumPy array) from the host."""
    return isinstance(features, cuda.ndarray) and isinstance(
        features.data.mem, cuda.cupy.cuda.UnownedMemory
    )


class RowPrefetcher:
    """Fetches rows of features in the host's memory while the GPU is still computing.

    The host is ahead of the GPU by up to an iteration. Rows are fetched on a stream of their own
    as soon as the host asks for them, into one of two buffers in turn, so that they are there
    when the GPU gets to them.

    Args:
        features (array): CuPy array in the host's memory, (N, D).
    """

    def __init__(self, features):
        self._features = features
        self._stream = cuda.Stream(non_blocking=True)
        # For each buffer: the indices and the rows; and when the GPU had used the rows.
        self._buffers, self._used = [None, None], [None, None]

    def __call__(self, rows):
        """Fetches rows.

        Args:
            rows (array): Their indices, (B,), int32, NumPy.

        Returns:
            array: The rows, (B, D), valid until the second next call.
        """
        cupy, stream = cuda.cupy, self._stream
        computing = cupy.cuda.get_current_stream()
        # What uses the rows of the call before has been launched by now.
        self._used[1] = computing.record()
        self._buffers.reverse()
        self._used.reverse()
        if self._buffers[1] is None or len(self._buffers[1][0]) < len(rows):
            shape = len(rows), self._features.shape[1]
            self._buffers[1] = cupy.empty(len(rows), 'int32'), cupy.empty(shape, 'float32')
            # What used this memory before may just have been launched.
            self._used[1] = self._used[0]
        indices, fetched = (array[: len(rows)] for array in self._buffers[1])
        stream.wait_event(self._used[1])
        with stream:
            indices.set(rows, stream=stream)
            self._features.take(indices, axis=0, out=fetched)
        computing.wait_event(stream.record())
        return fetched


def _page_locked(array):
    """Returns the page-locked memory that an array comes from, None if it does not."""
    while array is not None and not isinstance(array, cuda.cupy.cuda.PinnedMemoryPointer):
        array = array.obj if isinstance(array, memoryview) else getattr(array, 'base', None)
    return array
