"""3 x 3 convolution with a quarter of the multiplications.

This is F(4 x 4, 3 x 3) of Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*
(arXiv:1509.09308): pictures are cut into overlapping tiles of 6 x 6, tiles and kernels
are transformed, multiplied value by value, and 4 x 4 pixels of output transformed back.
For each of the 36 values, the sum over channels is a matrix product.
"""

import chainer
import numpy

TILE = 4                # pixels of output on a side
PATCH = TILE + 2        # pixels of input they hang on
# Where polynomials are evaluated, infinity being the sixth point. Of the usual choices
# these lose the fewest digits: 2e-6 of a layer's norm in single precision.
POINTS = (0, 1, -1, 0.5, -2)


def _transforms():
    """Returns the transforms of output (16, 36), kernels (36, 9) and input (36, 36).

    They are those of Toom and Cook: polynomials are multiplied by way of their values
    at ``POINTS``. The Kronecker product makes two dimensions of one.
    """
    output, kernel, patch = (numpy.zeros(shape) for shape in (
        (TILE, PATCH), (PATCH, 3), (PATCH, PATCH)))
    for row, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        output[:, row] = [point ** power for power in range(TILE)]
        kernel[row] = [point ** power / numpy.prod(numpy.subtract(point, others))
                       for power in range(3)]
        patch[row, :-1] = numpy.poly(others)[::-1]
    output[-1, -1] = kernel[-1, -1] = 1
    patch[-1] = numpy.poly(POINTS)[::-1]
    return tuple(numpy.kron(each, each) for each in (output, kernel, patch))


FROM_OUTPUT, FROM_KERNEL, FROM_PATCH = _transforms()
# Of the 36 values, the one that is added to all outputs of a tile alike.
CONSTANT = (PATCH + 1) * POINTS.index(1)


def transform_kernels(W):
    """Transforms kernels (O, C, 3, 3) into the 36 matrices (36, C, O) of :func:`convolve`."""
    xp = chainer.backend.get_array_module(W)
    kernels = W.reshape(-1, 9).T
    return (xp.asarray(FROM_KERNEL, W.dtype) @ kernels).reshape(-1, *W.shape[:2]).swapaxes(1, 2)


def convolve(padded, kernels, bias, out, block_values):
    """Convolves pictures with 3 x 3 kernels, stride 1.

    Args:
        padded (array): Pictures with their border, channels last, (N, H + 2, W + 2, C), C
            contiguous; H and W are multiples of ``TILE``.
        kernels (array): From :func:`transform_kernels`, (36, C, O).
        bias (array): Added to the result, (O,), or None.
        out (array): Takes the result, (N, H, W, O).
        block_values (int): About how many values to transform at a time. On a CPU they
            should fit into its caches.
    """
    xp = chainer.backend.get_array_module(padded)
    from_output, from_patch = (xp.asarray(each, padded.dtype)
                               for each in (FROM_OUTPUT, FROM_PATCH))
    (n, height, width, n_out), n_in = out.shape, padded.shape[3]
    rows, columns = height // TILE, width // TILE
    of_image, of_row, of_column, of_channel = padded.strides
    patches = xp.lib.stride_tricks.as_strided(
        padded, (PATCH, PATCH, n, rows, columns, n_in),
        (of_row, of_column, of_image, TILE * of_row, TILE * of_column, of_channel))
    tiles = out.reshape(n, rows, TILE, columns, TILE, n_out).transpose(2, 4, 0, 1, 3, 5)

    n_images, n_rows = _block_shape(block_values // (PATCH * PATCH * max(n_in, n_out)),
                                    n, rows, columns)
    for image in range(0, n, n_images):
        for row in range(0, rows, n_rows):
            block = (slice(None), slice(None), slice(image, image + n_images),
                     slice(row, row + n_rows))
            patch = xp.ascontiguousarray(patches[block])
            values = from_patch @ patch.reshape(PATCH * PATCH, -1)
            products = values.reshape(PATCH * PATCH, -1, n_in) @ kernels
            if bias is not None:
                products[CONSTANT] += bias
            tiles[block] = (from_output @ products.reshape(PATCH * PATCH, -1)).reshape(
                tiles[block].shape)


def _block_shape(n_tiles, n, rows, columns):
    """Returns how many images, and rows of tiles, about ``n_tiles`` are."""
    if n_tiles < rows * columns:
        return 1, max(1, n_tiles // columns)
    return min(n, n_tiles // (rows * columns)), rows
