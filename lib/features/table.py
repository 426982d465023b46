"""The table of a data set's features, which all scripts read: a row for each image."""

import math
import warnings

import chainer
import numpy
from chainer.backends import cuda

from lib.errors import InputError, InputWarning
from lib.features.feature_source import ExternalSource
from lib.features.file_rows import CombinedRows, FileRows, take
from lib.features.formats import read_features
from lib.features.image_rows import find_rows

# Values read at a time.
BLOCK = 1 << 22
# Share of a GPU's free memory that features may take; the rest is for training.
SHARE_OF_GPU_MEMORY = 0.7


class FeatureTable:
    """The features of a data set's images, by ``imgid``, wherever they are.

    Args:
        rows (array): Row ``n`` holds the features of ``imgid`` ``n``, (N, D), NumPy or mapped; or
            what has a shape and returns such rows.
        source (FeatureSource or ExternalSource): How they were extracted, None if unknown.
        path (str): Where they were read from, for error messages.

    Attributes:
        shape (tuple of int): (N, D).
        source, path: As given.
        left_out (array): Indices of the images that were asked for and have no features, since
            ``extract_features.py --skip-unreadable`` left them out, (n,), integers.

    Example:
        >>> table = FeatureTable.open(['vgg_feats.mat'], dataset, dataset.images_of('val'))
        >>> table[dataset.imgid[:2]].shape
        (2, 4096)
    """

    dtype = numpy.dtype('float32')

    def __init__(self, rows, source=None, path='features'):
        self._rows = rows
        self._device = chainer.backend.get_device_from_array(rows)
        self.shape = rows.shape
        self.source = source
        self.path = path
        self.left_out = numpy.empty(0, int)

    @classmethod
    def open(cls, paths, dataset, images, combine=None) -> 'FeatureTable':
        """Opens the files that have the features of a data set.

        Args:
            paths (list of str): The files. Their rows follow one another, unless they name their
                images.
            dataset (lib.captions.dataset.CaptionDataset): The data set.
            images (array): Indices of its images that are needed, (n,), integers.
            combine (str): One of :data:`lib.features.feature_source.COMBINATIONS`, if each file
                has features of all images.

        Raises:
            InputError: If the files cannot be read, do not belong together, or lack images, or
                features are NaN or infinite; but an image of which all values are NaN is one that
                was left out.
        """
        for path in paths:
            if paths.count(path) > 1:
                raise InputError(f'{path}: is given twice')
        files = [read_features(path) for path in paths]
        if combine is None or len(files) == 1:
            table = cls._of_files(files, dataset, images)
            has_features = table.check_images(dataset, images)
        else:
            tables = [cls._of_files([file], dataset, images) for file in files]
            path = ' and '.join(table.path for table in tables)
            table = cls(CombinedRows(tables, combine, path), ExternalSource.of(*paths), path)
            has_features = numpy.all([t.check_images(dataset, images) for t in tables], axis=0)
        is_left_out = ~has_features
        table.left_out = images[is_left_out]
        if len(table.left_out):
            first = dataset.filename[table.left_out[0]]
            note = (
                f'{table.path}: {len(table.left_out)} of {len(images)} images have no features and '
                f'are left out, the first is {first}'
            )
            warnings.warn(note, InputWarning, stacklevel=2)
        if is_left_out.all():
            raise InputError(f'{table.path}: no image has features')
        return table

    @classmethod
    def _of_files(cls, files, dataset, images):
        """Returns the table of files whose rows follow one another, unless they name images."""
        first, *others = files
        for file in others:
            if file.rows.shape[1] != first.rows.shape[1]:
                raise InputError(
                    f'{file.path}: has features of size {file.rows.shape[1]}, but {first.path} of '
                    f'size {first.rows.shape[1]}'
                )
            if file.source != first.source:
                raise InputError(f'{file.path}: was not extracted in the same way as {first.path}')
        order = find_rows(files, dataset, images)
        rows = first.rows if order is None and not others else FileRows(files, order)
        source = first.source
        if isinstance(source, ExternalSource):
            source = ExternalSource.of(*(file.path for file in files))
        return cls(rows, source, f'{first.path} to {files[-1].path}' if others else first.path)

    def __len__(self):
        return self.shape[0]

    @property
    def nbytes(self):
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, rows):
        """Returns the features of some images.

        Args:
            rows (array or slice): Their ``imgid``, (n,), integers, NumPy.

        Returns:
            array: The features, (n, D), float32, on the table's device, not to be changed; NaN
            where an image has none.
        """
        if isinstance(self._rows, cuda.ndarray):
            return self._rows[rows if isinstance(rows, slice) else self._device.send(rows)]
        with numpy.errstate(over='ignore'):  # becomes infinite, an error where it is used
            features = take(self._rows, rows).astype(self.dtype, copy=False)
        return self._device.send(numpy.asarray(features))

    def to_device(self, device):
        """Moves the features to a GPU if they fit there; otherwise rows are sent when asked for.

        Args:
            device (chainer.backend.Device): The GPU, or the CPU, where they stay as they are.
        """
        if device.xp is numpy:
            return
        free, _ = cuda.cupy.cuda.runtime.memGetInfo()
        if self.nbytes > SHARE_OF_GPU_MEMORY * free:
            warnings.warn(
                f'{self.nbytes / 2**30:.1f} GiB of features do not fit on the GPU; those of each '
                'batch are sent there',
                InputWarning,
                stacklevel=2,
            )
        else:
            array = cuda.cupy.empty(self.shape, self.dtype)
            for rows in self._blocks(len(self)):
                array[rows].set(self[rows])
            self._rows = array
        self._device = device

    def check_images(self, dataset, images):
        """Checks that some images have finite features, and notes features that are useless.

        Args:
            dataset (lib.captions.dataset.CaptionDataset): The data set.
            images (array): Indices of its images, (n,), integers.

        Returns:
            array: Whether each has features, (n,), bool; all values of others are NaN.

        Raises:
            InputError: If features are missing, or some values are NaN or infinite.
        """
        imgids = dataset.imgid[images]
        n_needed = int(imgids.max()) + 1
        if len(self) < n_needed:
            raise InputError(
                f'{self.path}: has features of {len(self)} images, but the captions '
                f'refer to imgid {n_needed - 1}; are they of the same data set?'
            )
        is_needed = numpy.zeros(n_needed, bool)
        is_needed[imgids] = True
        has_features = numpy.ones(n_needed, bool)
        n_zero = 0
        first = None
        are_alike = True
        for rows in self._blocks(n_needed):
            needed = rows.start + numpy.flatnonzero(is_needed[rows])
            features = self[rows if len(needed) == rows.stop - rows.start else needed]
            is_finite = numpy.isfinite(features).all(axis=1)
            if not is_finite.all():
                has_features[needed] = ~numpy.isnan(features).all(axis=1)
                is_bad = has_features[needed] & ~is_finite
                if is_bad.any():
                    imgid = needed[is_bad.argmax()]
                    name = dataset.filename[dataset.imgid == imgid][0]
                    raise InputError(
                        f'{self.path}: the features of {name} (imgid {imgid}) contain NaN or '
                        'infinite values'
                    )
                features = features[is_finite]
            if not len(features):
                continue
            candidates = features[features[:, 0] == 0]
            n_zero += int((~candidates.any(axis=1)).sum())
            first = features[0] if first is None else first
            are_alike = are_alike and (features == first).all()
        if are_alike and has_features[imgids].sum() > 1:
            note = f'{self.path}: the features of all images are the same'
            warnings.warn(note, InputWarning, stacklevel=3)
        elif n_zero:
            note = f'{self.path}: the features of {n_zero} of {len(imgids)} images are all zero'
            warnings.warn(note, InputWarning, stacklevel=3)
        return has_features[imgids]

    def mean_and_inverse_std(self, imgids):
        """Computes what standardizes the features of some images.

        Args:
            imgids (array): The images, (n,), integers.

        Returns:
            tuple of arrays: Mean and inverse standard deviation of each dimension, (D,),
            float32. The latter is 0 where the dimension is constant.
        """
        blocks = numpy.array_split(imgids, 1 + imgids.size * self.shape[1] // BLOCK)
        total, squares = numpy.zeros((2, self.shape[1]))
        for rows in blocks:
            total += self[rows].sum(axis=0, dtype='float64')
        mean = total / len(imgids)
        for rows in blocks:
            squares += ((self[rows] - mean) ** 2).sum(axis=0)
        std = numpy.sqrt(squares / len(imgids))
        varies = std > 1e-6 * std.max()
        inverse_std = numpy.divide(1, std, out=numpy.zeros_like(std), where=varies)
        with numpy.errstate(over='ignore'):  # of absurd features, whose loss is not finite
            return mean.astype('float32'), inverse_std.astype('float32')

    def _blocks(self, n_rows):
        """Yields slices of the first rows, which need little memory."""
        size = max(1, BLOCK // self.shape[1])
        for start in range(0, n_rows, size):
            yield slice(start, min(start + size, n_rows))
