"""Features extracted so far, so that an interrupted extraction can continue."""

import contextlib
import os

import chainer
import numpy

from lib.files.output import errors_naming, lock


class PartialFeatures:
    """A file of features that grows by a record for each image: its number and its features.

    Whenever the program is killed, all records are complete but perhaps the last one. Use it in a
    ``with`` statement, which removes a file without records at its end.

    Args:
        path (str): The file, which need not exist.
        size (int): Size of the features.

    Raises:
        InputError: If another process is writing to it.
        OSError: If it cannot be written.
    """

    def __init__(self, path, size):
        self._path = path
        self._type = numpy.dtype([('image', '<i4'), ('features', '<f4', (size,))])
        with errors_naming(path):
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            self._file = open(path, 'a+b')  # noqa: SIM115
        lock(self._file, path)
        self._file.truncate(self._n_records() * self._type.itemsize)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()
        with contextlib.suppress(FileNotFoundError):  # removed with its records
            if not self._n_records():
                os.remove(self._path)

    def _n_records(self):
        return os.path.getsize(self._path) // self._type.itemsize

    def read(self):
        """Returns the records, mapped, with the fields ``image`` and ``features``, (n,)."""
        if not self._n_records():  # what is empty cannot be mapped
            return numpy.empty(0, self._type)
        return numpy.memmap(self._path, self._type, 'r')

    def add(self, images, features):
        """Adds the features (n, D) of some images, (n,), from any device."""
        records = numpy.empty(len(images), self._type)
        records['image'] = images
        records['features'] = chainer.get_device('@numpy').send(features)
        with errors_naming(self._path):
            self._file.write(records.tobytes())
            self._file.flush()

    def remove(self):
        """Deletes the file."""
        os.remove(self._path)
