"""Matrix products that CuPy does not offer, or only at a high cost for the host."""

import numpy
from chainer.backends import cuda

# Of cuBLAS's cublasMath_t; CuPy has no name for it.
TF32_TENSOR_OP_MATH = 3
# Large buffers on a GPU have a multiple of this many rows, so that batches of similar size use the
# same memory; allocating more makes the GPU wait.
ALLOCATED_ROWS = 1024


def set_tf32(is_on):
    """Lets products of float32 on the current GPU round their factors to TensorFloat-32, or not.

    CuPy and the products of this module have a switch each.
    """
    cupy = cuda.cupy
    name = 'COMPUTE_TYPE_TF32' if is_on else 'COMPUTE_TYPE_DEFAULT'
    cupy._core.set_compute_type('float32', getattr(cupy._core._routines_linalg, name))
    mode = TF32_TENSOR_OP_MATH if is_on else cuda.cublas.CUBLAS_DEFAULT_MATH
    cuda.cublas.setMathMode(cupy.cuda.device.get_cublas_handle(), mode)


def is_tf32():
    """Returns what :func:`set_tf32` has set."""
    return cuda.cublas.getMathMode(cuda.cupy.cuda.device.get_cublas_handle()) == TF32_TENSOR_OP_MATH


class Product:
    """Multiplies rows by weights.

    It calls cuBLAS directly. ``cupy.matmul`` takes twenty times as long on the host, cannot add to
    what is there, and needs arrays.

    Args:
        dtype (dtype): Type of all arrays, float32 or float64.
    """

    def __init__(self, dtype):
        self._gemm = {'f': cuda.cublas.sgemm, 'd': cuda.cublas.dgemm}[numpy.dtype(dtype).char]
        self._handle = cuda.cupy.cuda.device.get_cublas_handle()
        self._factors = numpy.array([0, 1], dtype)
        self._zero = self._factors.ctypes.data
        self._one = self._zero + self._factors.itemsize

    def __call__(self, rows, n, W, out, transpose=False, accumulate=False):
        """Computes ``rows @ W`` or, with ``transpose``, ``rows @ W.T``.

        Args:
            rows (int): Address of an array (n, K), C-contiguous.
            n (int): Number of rows.
            W (array): (K, P), or (P, K) to be transposed, C-contiguous.
            out (int): Address of the result, (n, P), C-contiguous.
            transpose (bool): Multiply by the transpose of ``W``.
            accumulate (bool): Add to ``out`` instead of replacing it.
        """
        n_out, n_in = W.shape if transpose else W.shape[::-1]
        # cuBLAS stores columns: it computes out.T = W.T @ rows.T.
        self._gemm(
            self._handle,
            cuda.cublas.CUBLAS_OP_T if transpose else cuda.cublas.CUBLAS_OP_N,
            cuda.cublas.CUBLAS_OP_N,
            n_out,
            n,
            n_in,
            self._one,
            W.data.ptr,
            W.shape[1],
            rows,
            n_in,
            self._one if accumulate else self._zero,
            out,
            n_out,
        )


def empty_rows(n_rows, n_columns, dtype):
    """Returns an uninitialized CuPy array whose memory suits batches of similar size, too."""
    n_allocated = -(-n_rows // ALLOCATED_ROWS) * ALLOCATED_ROWS
    return cuda.cupy.empty((n_allocated, n_columns), dtype)[:n_rows]


def product_of_rows(a, b):
    """Computes ``a @ b.T``, on a GPU in memory from :func:`empty_rows`.

    Args:
        a (array): (n, K), float.
        b (array): (P, K), of the same type.

    Returns:
        array: (n, P).
    """
    if isinstance(a, numpy.ndarray):
        return a @ b.T
    return cuda.cupy.matmul(a, b.T, out=empty_rows(len(a), len(b), a.dtype))


def batched_product(a, b):
    """Computes ``a[i] @ b[i].T`` for each i.

    CuPy's own does not round to TensorFloat-32 where other products do.

    Args:
        a (array): (N, m, K), float32, C-contiguous.
        b (array): (N, n, K), float32, C-contiguous.

    Returns:
        array: (N, m, n).
    """
    if isinstance(a, numpy.ndarray):
        return a @ b.swapaxes(1, 2)
    cublas = cuda.cublas
    float32 = cuda.cupy.cuda.runtime.CUDA_R_32F
    n_products, m, k = a.shape
    n = b.shape[1]
    out = cuda.cupy.empty((n_products, m, n), 'float32')
    factors = numpy.array([0, 1], 'float32')
    cublas.gemmStridedBatchedEx(
        cuda.cupy.cuda.device.get_cublas_handle(),
        cublas.CUBLAS_OP_T,
        cublas.CUBLAS_OP_N,
        n,
        m,
        k,
        factors[1:].ctypes.data,
        b.data.ptr,
        float32,
        k,
        n * k,
        a.data.ptr,
        float32,
        k,
        m * k,
        factors.ctypes.data,
        out.data.ptr,
        float32,
        n,
        m * n,
        n_products,
        cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if is_tf32() else cublas.CUBLAS_COMPUTE_32F,
        cublas.CUBLAS_GEMM_DEFAULT,
    )
    return out
