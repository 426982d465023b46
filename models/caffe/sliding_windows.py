"""Views of the windows of images."""

import chainer


def sliding_windows(images, height, width):
    """Returns a view of all windows of some images.

    ``sliding_window_view`` of NumPy does the same, but CuPy's waits for the GPU.

    Args:
        images (array): Images, channels last, (N, H, W, C), C-contiguous.
        height, width (int): Size of the windows, pixels.

    Returns:
        array: (N, H - height + 1, W - width + 1, height, width, C).
    """
    xp = chainer.backend.get_array_module(images)
    n_images, n_rows, n_columns, n_channels = images.shape
    per_image, per_row, per_column, per_channel = images.strides
    return xp.lib.stride_tricks.as_strided(
        images,
        (n_images, n_rows - height + 1, n_columns - width + 1, height, width, n_channels),
        (per_image, per_row, per_column, per_row, per_column, per_channel),
    )
