"""3 x 3 convolution with a quarter of the multiplications.

This is F(4 x 4, 3 x 3) of Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*
(arXiv:1509.09308). Images are cut into overlapping patches of 6 x 6 pixels; patches and
kernels are transformed and multiplied elementwise, and the products transformed back into
tiles of 4 x 4 pixels. The sum over channels makes a matrix product of each of the 36
elementwise multiplications.
"""

import chainer
import numpy

from models.caffe.sliding_windows import sliding_windows
from models.fast.products import batched_product

TILE = 4  # output pixels on a side
PATCH = TILE + 2  # input pixels on a side that they depend on
# Where polynomials are evaluated, infinity being the sixth point. Of the usual choices these
# lose the fewest digits: 2e-6 of a layer's norm in single precision.
POINTS = (0, 1, -1, 0.5, -2)


def _transforms():
    """Returns the transforms of products (16, 36), kernels (36, 9) and patches (36, 36).

    They are those of Toom and Cook, which multiply polynomials by way of their values at
    ``POINTS``. The Kronecker product turns one dimension into two.
    """
    output = numpy.zeros((TILE, PATCH))
    kernel = numpy.zeros((PATCH, 3))
    patch = numpy.zeros((PATCH, PATCH))
    for row, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        denominator = numpy.prod(numpy.subtract(point, others))
        output[:, row] = [point**power for power in range(TILE)]
        kernel[row] = [point**power / denominator for power in range(3)]
        patch[row, :-1] = numpy.poly(others)[::-1]
    output[-1, -1] = kernel[-1, -1] = 1
    patch[-1] = numpy.poly(POINTS)[::-1]
    return tuple(numpy.kron(matrix, matrix) for matrix in (output, kernel, patch))


PRODUCT_TRANSFORM, KERNEL_TRANSFORM, PATCH_TRANSFORM = _transforms()
# Of the 36 products, the one that is added to all pixels of a tile.
CONSTANT = (PATCH + 1) * POINTS.index(1)


def transform_kernels(W):
    """Transforms kernels (O, C, 3, 3) into the 36 matrices (36, O, C) of :func:`convolve`."""
    xp = chainer.backend.get_array_module(W)
    transformed = xp.asarray(KERNEL_TRANSFORM, W.dtype) @ W.reshape(-1, 9).T
    return transformed.reshape(-1, *W.shape[:2])


def convolve(padded, kernels, bias, block_values):
    """Convolves images with 3 x 3 kernels, stride 1.

    Args:
        padded (array): Padded images, channels last, (N, H + 2, W + 2, C); H and W are
            multiples of ``TILE``.
        kernels (array): From :func:`transform_kernels`, (36, O, C).
        bias (array): Added to the result, (O,), or None.
        block_values (int): Approximate number of values to transform at a time. On a CPU they
            should fit into its caches.

    Returns:
        array: (N, H, W, O).
    """
    xp = chainer.backend.get_array_module(padded)
    product_transform, patch_transform = (
        xp.asarray(matrix, padded.dtype) for matrix in (PRODUCT_TRANSFORM, PATCH_TRANSFORM)
    )
    n_out, n_in = kernels.shape[1:]
    patches = _patches(padded)
    n_images, rows, columns = patches.shape[2:5]
    out = xp.empty((n_images, TILE * rows, TILE * columns, n_out), padded.dtype)
    tiles = _tiles(out)
    n_patches = block_values // (PATCH * PATCH * max(n_in, n_out))
    for block in _blocks(n_patches, n_images, rows, columns):
        patch = xp.ascontiguousarray(patches[block])
        transformed = patch_transform @ patch.reshape(PATCH * PATCH, -1)
        products = batched_product(transformed.reshape(PATCH * PATCH, -1, n_in), kernels)
        if bias is not None:
            products[CONSTANT] += bias
        tile = product_transform @ products.reshape(PATCH * PATCH, -1)
        tiles[block] = tile.reshape(tiles[block].shape)
    return out


def _patches(padded):
    """Returns a view of the overlapping patches, (PATCH, PATCH, N, rows, columns, C)."""
    windows = sliding_windows(padded, PATCH, PATCH)[:, ::TILE, ::TILE]
    return windows.transpose(3, 4, 0, 1, 2, 5)


def _tiles(out):
    """Returns a view of the tiles of an array (N, H, W, O), (TILE, TILE, N, rows, columns, O)."""
    n_images, height, width, n_out = out.shape
    tiles = out.reshape(n_images, height // TILE, TILE, width // TILE, TILE, n_out)
    return tiles.transpose(2, 4, 0, 1, 3, 5)


def _blocks(n_patches, n_images, rows, columns):
    """Yields indices of blocks of about ``n_patches`` patches, whole images if they fit."""
    if n_patches < rows * columns:
        images_at_once, rows_at_once = 1, max(1, n_patches // columns)
    else:
        images_at_once, rows_at_once = min(n_images, n_patches // (rows * columns)), rows
    for image in range(0, n_images, images_at_once):
        for row in range(0, rows, rows_at_once):
            yield (
                slice(None),
                slice(None),
                slice(image, image + images_at_once),
                slice(row, row + rows_at_once),
            )
