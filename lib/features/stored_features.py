"""Features in files, arranged by image; rows may stay there until they are needed."""

import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor

import chainer
import numpy

from lib.errors import InputError
from lib.features.feature_file import open_features
from lib.features.feature_matrix import check_features_memory
from lib.features.feature_source import ExternalSource
from lib.features.image_rows import find_rows
from lib.files.output import errors_naming

# Enough to keep a solid-state drive busy, which answers many requests at once.
N_THREADS = 16


class RowReader:
    """Reads rows that a file stores one after the other; several threads may do so at once.

    Args:
        matrix (lib.features.feature_matrix.FeatureMatrix): What is in the file.

    Raises:
        InputError: If single rows cannot be read from it.
    """

    def __init__(self, matrix):
        self._path, self._dtype, self._offset = matrix.path, matrix.dtype, matrix.offset
        if matrix.offset is None:
            raise InputError(
                f'{matrix.path}: the features are not stored in one piece, row after row, so they '
                'have to fit in memory; .npy files are, and HDF5 after h5repack -l feats:CONTI -f '
                'feats:NONE OLD NEW'
            )
        self._file = open(matrix.path, 'rb')  # noqa: SIM115
        matrix.check_unchanged(os.fstat(self._file.fileno()))

    def __call__(self, first, rows):
        """Reads consecutive rows.

        Args:
            first (int): The first row to read.
            rows (array): What to read them into, (n, D), float32, contiguous.
        """
        buffer = rows if self._dtype == rows.dtype else numpy.empty(rows.shape, self._dtype)
        content = memoryview(buffer.reshape(-1).view('uint8'))
        position = self._offset + first * buffer.strides[0]
        with errors_naming(self._path):
            while content:
                n_bytes = os.preadv(self._file.fileno(), [content], position)
                if not n_bytes:
                    raise InputError(f'{self._path}: has been cut short')
                content, position = content[n_bytes:], position + n_bytes
        if buffer is not rows:
            with numpy.errstate(over='ignore'):  # as in FeatureMatrix.copy_rows
                rows[...] = buffer


class StoredFeatures:
    """The features in some files, whose rows follow one another until they are arranged.

    It can take the place of an array (N, D) whose rows are only read: it has a shape, a length and
    a type, and an index or slice of rows returns them.

    Args:
        paths (list of str): The files.

    Attributes:
        shape (tuple of int): Images and size of the features, (N, D).
        nbytes (int): The memory that all features would take.
        path (str): The files, for error messages.
        source (FeatureSource or ExternalSource): How the features were extracted, None if unknown.

    Raises:
        InputError: If a file cannot be read, is given twice, or differs from the others in the
            size of its features or in how they were extracted.
    """

    dtype, ndim = numpy.dtype('float32'), 2

    def __init__(self, paths):
        self._matrices = [open_features(path) for path in paths]
        first = self._matrices[0]
        for path in paths:
            if paths.count(path) > 1:
                raise InputError(f'{path}: is given twice')
        for matrix in self._matrices[1:]:
            if matrix.shape[1] != first.shape[1]:
                raise InputError(
                    f'{matrix.path}: has features of size {matrix.shape[1]}, but {first.path} of '
                    f'size {first.shape[1]}'
                )
            if matrix.source != first.source:
                raise InputError(
                    f'{matrix.path}: was not extracted in the same way as {first.path}'
                )
        # The first row of each file, and the end of the last one.
        self._bounds = numpy.cumsum([0, *map(len, self._matrices)])
        self.shape, self._order = (int(self._bounds[-1]), first.shape[1]), None
        self.path = first.path if len(paths) == 1 else f'{first.path} to {paths[-1]}'
        is_external = isinstance(first.source, ExternalSource)
        self.source = ExternalSource.of(*paths) if is_external else first.source
        self._in_memory = numpy.empty((0, self.shape[1]), self.dtype)
        self._readers = [None] * len(self._matrices)
        self._device = chainer.get_device('@numpy')
        self._threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix='read-features')

    @property
    def nbytes(self):
        return math.prod(self.shape) * self.dtype.itemsize

    def arrange(self, dataset, images):
        """Makes row ``n`` that of ``imgid`` ``n``, if the files name their images; NaN for others.

        Args:
            dataset (lib.captions.dataset.CaptionDataset): The data set.
            images (array): Indices of its images that must be there.

        Raises:
            InputError: See :func:`lib.features.image_rows.find_rows`.
        """
        self._order = find_rows(self._matrices, dataset, images)
        if self._order is not None:
            self.shape = len(self._order), self.shape[1]

    def load(self, n_rows, allocate=numpy.empty):
        """Returns the first rows.

        Args:
            n_rows (int): How many.
            allocate (callable): See :func:`lib.features.feature_file.load_features`.

        Returns:
            array: (n_rows, D), float32, NumPy.
        """
        if self._order is None and len(self._matrices) == 1 and n_rows == len(self):
            return self._matrices[0].load(allocate)
        shape = n_rows, self.shape[1]
        check_features_memory(self.path, shape)
        array = allocate(shape, self.dtype.name)
        self.copy_rows(array)
        return array

    def copy_rows(self, array, add=False):
        """Copies the first rows to an array (n, D), float32, or adds them to it."""
        order = self._file_rows(numpy.arange(len(array)))
        array[order < 0] = numpy.nan
        for matrix, (start, stop) in zip(self._matrices, itertools.pairwise(self._bounds)):
            (targets,) = numpy.nonzero((start <= order) & (order < stop))
            matrix.copy_rows(order[targets] - start, array, targets, add)

    def _file_rows(self, rows):
        """Returns where rows are in the files together, -1 if they are not."""
        return rows if self._order is None else self._order[rows]

    def keep(self, array):
        """Takes the first rows from an array that :meth:`load` returned, no longer from a file."""
        self._in_memory = array

    def open(self, n_rows=0):
        """Prepares to read all rows after the first ``n_rows`` from the files.

        Raises:
            InputError: If they cannot be read one by one.
        """
        rows = self._file_rows(numpy.arange(n_rows, len(self)))
        for number, (start, stop) in enumerate(itertools.pairwise(self._bounds)):
            if ((start <= rows) & (rows < stop)).any():
                self._readers[number] = RowReader(self._matrices[number])

    def to_device(self, device):
        """Sends the rows to a device from now on."""
        self._device = device

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """Returns some rows.

        Args:
            rows (array or slice): Their indices, (n,), NumPy.

        Returns:
            array: The rows, (n, D), float32, on the device.
        """
        if isinstance(rows, slice):
            rows = numpy.arange(*rows.indices(len(self)))
        result = numpy.empty((len(rows), self.shape[1]), self.dtype)
        is_in_memory, file_rows = rows < len(self._in_memory), self._file_rows(rows)
        result[is_in_memory] = self._in_memory[rows[is_in_memory]]
        result[file_rows < 0] = numpy.nan
        places = numpy.flatnonzero(~is_in_memory & (file_rows >= 0))
        requests = self._requests(file_rows, places, result)
        shares = [requests[thread::N_THREADS] for thread in range(min(N_THREADS, len(requests)))]
        for _ in self._threads.map(_read_all, shares):
            pass  # raises what a thread has raised
        return self._device.send(result)

    def _requests(self, rows, places, result):
        """Returns which reader is to read what and where to: consecutive rows together.

        Args:
            rows (array): Where all rows are in the files together, (n,), NumPy.
            places (array): Which of them to read, rising, (m,).
            result (array): Where to, (n, D), float32, NumPy.
        """
        if not len(places):
            return []
        rows = rows[places]
        files = numpy.searchsorted(self._bounds, rows, 'right') - 1
        is_new = (numpy.diff(rows) != 1) | (numpy.diff(places) != 1) | (numpy.diff(files) != 0)
        bounds = [0, *(numpy.flatnonzero(is_new) + 1).tolist(), len(rows)]
        return [
            (
                self._readers[files[start]],
                int(rows[start] - self._bounds[files[start]]),
                result[places[start] : places[stop - 1] + 1],
            )
            for start, stop in itertools.pairwise(bounds)
        ]


def _read_all(requests):
    for read, first, rows in requests:
        read(first, rows)
