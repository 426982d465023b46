"""Rows of several files of features, as if they were those of one array."""

import mmap

import numpy

from lib.errors import InputError


class FileRows:
    """The rows of files that follow one another, or are in an order of their own.

    Args:
        files (list of lib.features.formats.FeatureFile): The files.
        order (array): Where the row of each ``imgid`` is in the files together, (N,), -1 if it is
            not; None if they are in this order.
    """

    def __init__(self, files, order=None):
        self._files = [file.rows for file in files]
        self._order = order
        # The first row of each file, and the end of the last one.
        self._bounds = numpy.cumsum([0, *map(len, self._files)])
        n_rows = int(self._bounds[-1]) if order is None else len(order)
        self.shape = n_rows, self._files[0].shape[1]

    def __getitem__(self, rows):
        if isinstance(rows, slice):
            rows = numpy.arange(*rows.indices(self.shape[0]))
        if self._order is not None:
            rows = self._order[rows]
        features = numpy.full((len(rows), self.shape[1]), numpy.nan, 'float32')
        files = numpy.searchsorted(self._bounds, rows, 'right') - 1
        for number, file in enumerate(self._files):
            places = numpy.flatnonzero(files == number)
            features[places] = take(file, rows[places] - self._bounds[number])
        return features


class CombinedRows:
    """One vector of each image, from the tables of several files.

    Args:
        tables (list of FeatureTable): Each has all images.
        combine (str): One of :data:`lib.features.feature_source.COMBINATIONS`.
        path (str): The files, for error messages.
    """

    def __init__(self, tables, combine, path):
        self._tables = tables
        self._is_average = combine == 'average'
        sizes = [table.shape[1] for table in tables]
        if self._is_average and len({*sizes}) > 1:
            raise InputError(
                f'average: {path} have features of sizes {", ".join(map(str, sizes))}', 'combine'
            )
        self.shape = min(map(len, tables)), sizes[0] if self._is_average else sum(sizes)

    def __getitem__(self, rows):
        if isinstance(rows, slice):  # of the tables, which may be longer
            rows = slice(*rows.indices(self.shape[0]))
        features = [table[rows] for table in self._tables]
        if self._is_average:
            return sum(features) / len(features)
        return numpy.concatenate(features, axis=1)


def take(array, rows):
    """Returns rows of an array; those of a mapped file are read from the disk at the same time.

    Without the announcement each would be read when the one before it has been copied, which takes
    several times as long (``benchmarks/features.py``).
    """
    if isinstance(array, numpy.memmap) and not isinstance(rows, slice):
        size = array.strides[0]
        first = array.offset % mmap.ALLOCATIONGRANULARITY  # where NumPy's mapping begins
        for row in rows.tolist():
            start = first + row * size
            page = start - start % mmap.PAGESIZE
            array.base.madvise(mmap.MADV_WILLNEED, page, start + size - page)
    return array[rows]
