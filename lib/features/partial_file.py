"""Features extracted so far, so that an interrupted extraction can continue."""

import os

import chainer
import numpy

from lib.files.output import errors_naming


class PartialFeatures:
    """A file of features that grows by a record for each image: its number and its features.

    Whenever the program is killed, all records but the last one are complete.

    Args:
        path (str): The file, which need not exist.
        size (int): Size of the features.
    """

    def __init__(self, path, size):
        self._path = path
        self._type = numpy.dtype([('image', '<i4'), ('features', '<f4', (size,))])

    def read(self):
        """Returns the complete records, mapped, and removes half a record after them.

        Returns:
            array: With the fields ``image`` and ``features``, (n,).

        Raises:
            OSError: If the file cannot be read or written.
        """
        os.makedirs(os.path.dirname(os.path.abspath(self._path)), exist_ok=True)
        with errors_naming(self._path), open(self._path, 'a+b') as file:
            n_records = file.tell() // self._type.itemsize
            file.truncate(n_records * self._type.itemsize)
            if not n_records:  # what is empty cannot be mapped
                return numpy.empty(0, self._type)
            return numpy.memmap(file, self._type, 'r')

    def add(self, images, features):
        """Adds the features (n, D) of some images, (n,), from any device."""
        records = numpy.empty(len(images), self._type)
        records['image'] = images
        records['features'] = chainer.get_device('@numpy').send(features)
        with errors_naming(self._path), open(self._path, 'ab') as file:
            file.write(records.tobytes())

    def remove(self):
        """Deletes the file."""
        os.remove(self._path)
