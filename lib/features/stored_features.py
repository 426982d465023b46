"""Features that do not fit in memory: their rows are read from HDF5 files when they are needed."""

import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor

import chainer
import h5py
import numpy

from lib.errors import InputError
from lib.features.feature_file import open_hdf5_features
from lib.files import errors_naming

# Enough to keep a solid-state drive busy, which answers many requests at once.
N_THREADS = 16


class StoredMatrix:
    """The features in one HDF5 file.

    Args:
        path (str): The file.

    Attributes:
        path (str): As above.
        shape (tuple of int): Images and size of the features, (N, D).
        source (lib.features.feature_source.FeatureSource): How they were extracted, None if
            unknown.

    Raises:
        InputError: If the file cannot be read, or is not HDF5.
    """

    def __init__(self, path):
        self.path, self._file = str(path), None
        with open_hdf5_features(path) as (feats, self.source):
            self.shape, self._dtype = feats.shape, feats.dtype
            # None if they are stored in chunks, inside a header, or not at all.
            self._offset = feats.id.get_offset()
            if feats.id.get_type() != h5py.h5t.py_create(feats.dtype):
                self._offset = None  # h5py converts what NumPy has no type for
            self._identity = _identity(os.stat(path))

    def load(self, array):
        """Reads the first rows, however they are stored, into an array (n, D)."""
        # A value may become infinite, which is an error where it is used.
        with open_hdf5_features(self.path) as (feats, _), numpy.errstate(over='ignore'):
            self._check_identity(os.stat(self.path))
            feats.read_direct(array, numpy.s_[: len(array)])

    def open(self):
        """Opens the file for :meth:`read`.

        Raises:
            InputError: If single rows cannot be read from it.
        """
        if self._offset is None:
            raise InputError(
                f'{self.path}: feats is not stored in one piece, so it has to fit in memory; '
                'h5repack -l feats:CONTI -f feats:NONE OLD NEW stores it in one'
            )
        self._file = open(self.path, 'rb')  # noqa: SIM115
        self._check_identity(os.fstat(self._file.fileno()))

    def read(self, first, rows):
        """Reads consecutive rows; several threads may do so at once.

        Args:
            first (int): The first row to read.
            rows (array): What to read them into, (n, D), float32, contiguous.
        """
        buffer = rows if self._dtype == rows.dtype else numpy.empty(rows.shape, self._dtype)
        content = memoryview(buffer.reshape(-1).view('uint8'))
        position = self._offset + first * buffer.strides[0]
        with errors_naming(self.path):
            while content:
                n_bytes = os.preadv(self._file.fileno(), [content], position)
                if not n_bytes:
                    raise InputError(f'{self.path}: has been cut short')
                content, position = content[n_bytes:], position + n_bytes
        if buffer is not rows:
            with numpy.errstate(over='ignore'):  # as in load
                rows[...] = buffer

    def _check_identity(self, stat):
        if _identity(stat) != self._identity:
            raise InputError(f'{self.path}: has been replaced meanwhile')


def _identity(stat):
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


class StoredFeatures:
    """The features in some HDF5 files, whose rows follow one another.

    It can take the place of an array (N, D) whose rows are only read: it has a shape, a length and
    a type, and an index or slice of rows returns them.

    Args:
        paths (list of str): The files.

    Attributes:
        shape (tuple of int): Images and size of the features, (N, D).
        nbytes (int): The memory that all features would take.
        path (str): The files, for error messages.
        source (lib.features.feature_source.FeatureSource): How the features were extracted, None
            if unknown.

    Raises:
        InputError: If a file cannot be read, is not HDF5, is given twice, or differs from the
            others in the size of its features or in how they were extracted.
    """

    dtype, ndim = numpy.dtype('float32'), 2

    def __init__(self, paths):
        self._matrices = [StoredMatrix(path) for path in paths]
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
        self._bounds = numpy.cumsum([0, *(matrix.shape[0] for matrix in self._matrices)])
        self.shape = int(self._bounds[-1]), first.shape[1]
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        self.path = first.path if len(paths) == 1 else f'{first.path} to {paths[-1]}'
        self.source = first.source
        self._in_memory = numpy.empty((0, self.shape[1]), self.dtype)
        self._device = chainer.get_device('@numpy')
        self._threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix='read-features')

    def load(self, n_rows, allocate=numpy.empty):
        """Returns the first rows.

        Args:
            n_rows (int): How many.
            allocate (callable): See :func:`lib.features.feature_file.load_features`.

        Returns:
            array: (n_rows, D), float32, NumPy.
        """
        array = allocate((n_rows, self.shape[1]), self.dtype.name)
        for matrix, start in zip(self._matrices, self._bounds[:-1]):
            if start < n_rows:
                matrix.load(array[start : start + matrix.shape[0]])
        return array

    def keep(self, array):
        """Takes the first rows from an array that :meth:`load` returned, no longer from a file."""
        self._in_memory = array

    def open(self, n_rows=0):
        """Prepares to read all rows after the first ``n_rows`` from the files.

        Raises:
            InputError: If they cannot be read one by one.
        """
        for matrix, end in zip(self._matrices, self._bounds[1:]):
            if end > n_rows:
                matrix.open()

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
        is_in_memory = rows < len(self._in_memory)
        result[is_in_memory] = self._in_memory[rows[is_in_memory]]
        requests = self._requests(rows, numpy.flatnonzero(~is_in_memory), result)
        shares = [requests[thread::N_THREADS] for thread in range(min(N_THREADS, len(requests)))]
        for _ in self._threads.map(_read_all, shares):
            pass  # raises what a thread has raised
        return self._device.send(result)

    def _requests(self, rows, places, result):
        """Returns what to read of which file and where to: consecutive rows together.

        Args:
            rows (array): The indices of all rows, (n,), NumPy.
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
                self._matrices[files[start]],
                int(rows[start] - self._bounds[files[start]]),
                result[places[start] : places[stop - 1] + 1],
            )
            for start, stop in itertools.pairwise(bounds)
        ]


def _read_all(requests):
    for matrix, first, rows in requests:
        matrix.read(first, rows)
