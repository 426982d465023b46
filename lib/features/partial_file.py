"""Features extracted so far, so that an interrupted extraction can continue."""

import contextlib
import json
import os

import chainer
import numpy

from lib.errors import InputError
from lib.files.input import check_input
from lib.files.output import errors_naming

# The first line of the file; settings and size of the features follow in the second one.
FIRST_LINE = b'show-and-tell partial features 2\n'
# Bytes of settings, and of records that are read at a time.
MAX_SETTINGS, BLOCK_BYTES = 1 << 16, 1 << 24


def partial_path(path: str, rank: int = 0) -> str:
    """Returns where a process keeps features until all of them can be written to ``path``."""
    return f'{path}.{rank}.partial' if rank else f'{path}.partial'


class PartialFeatures:
    """Keeps the features extracted so far in ``PATH.partial``, beside the final file.

    The file only grows, by records of an image's number and its features. Whenever the program is
    killed, all but the last record are complete. Use it in a ``with`` statement, which removes the
    file if it has no features.

    Args:
        path (str): The file that all features will be written to.
        n_images (int): Number of images.
        settings (dict): What is extracted from which images, JSON values.
        rank (int): The process, if several extract features.

    Attributes:
        done (array): Whether the features of each image are there, (n_images,), bool.
        size (int): Size of the features, None if there are none.

    Raises:
        InputError: If the file contains anything but features that were extracted with these
            settings; it is left alone then.
        OSError: If the file cannot be read or written.
    """

    def __init__(self, path, n_images, settings, rank=0):
        self.path, self.size, self._settings = partial_path(path, rank), None, settings
        self.done = numpy.zeros(n_images, bool)
        if os.path.exists(self.path):
            check_input(self.path)
        self._file = open(self.path, 'a+b')  # noqa: SIM115
        try:
            self._start = self._read_header()
            if self.size is not None:
                self._find_done()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if not self.done.any():
            self.remove()
        self._file.close()

    def put(self, images, features):
        """Adds the features (n, D) of some images, from any device."""
        features = chainer.get_device('@numpy').send(features)
        content = b''
        if self.size is None:
            self.size = features.shape[1]
            header = json.dumps({'settings': self._settings, 'size': self.size}).encode()
            content = FIRST_LINE + header + b'\n'
            self._file.truncate(0)
            self._start = len(content)
        elif features.shape[1] != self.size:
            raise InputError(
                f'{self.path}: has features of size {self.size}, but the network computes '
                f'{features.shape[1]}; delete the file'
            )
        records = numpy.empty(len(images), self._record_type)
        records['image'], records['features'] = images, features
        with errors_naming(self.path):
            self._file.write(content + records.tobytes())
            self._file.flush()
            os.fsync(self._file.fileno())
        self.done[images] = True

    def read_into(self, result, rows):
        """Copies all features.

        Args:
            result (array): Where to, (N, D), float32.
            rows (array): The row of each image there, (n_images,), integers.
        """
        for images, features in self._records():
            result[rows[images]] = features

    def remove(self):
        """Deletes the file, unless that has been done."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path)

    @property
    def _record_type(self):
        return numpy.dtype([('image', '<i4'), ('features', '<f4', (self.size,))])

    def _read_header(self):
        """Sets the size, if there is a header; returns where the records begin."""
        self._file.seek(0)
        first_line = self._file.readline(len(FIRST_LINE))
        second_line = self._file.readline(MAX_SETTINGS)
        is_cut_short = b'\n' not in second_line and len(second_line) < MAX_SETTINGS
        if FIRST_LINE.startswith(first_line) and is_cut_short:
            return 0
        try:
            header = json.loads(second_line)
            settings, size = header['settings'], header['size']
            is_valid = first_line == FIRST_LINE and type(size) is int and 0 < size < BLOCK_BYTES
        except (ValueError, KeyError, TypeError, RecursionError):
            is_valid = False
        if not is_valid:
            self._refuse('is not a file of features that an extraction left')
        if settings != self._settings:
            self._refuse('has features that were extracted from other images or in another way')
        self.size = size
        return self._file.tell()

    def _refuse(self, reason):
        raise InputError(f'{self.path}: {reason}; delete it or choose another output')

    def _find_done(self):
        # A record that is incomplete is cut off, so that no other one is added to its half.
        n_bytes = os.fstat(self._file.fileno()).st_size - self._start
        self._file.truncate(self._start + n_bytes - n_bytes % self._record_type.itemsize)
        for images, _ in self._records():
            if images.min() < 0 or images.max() >= len(self.done):
                self._refuse('is damaged')
            self.done[images] = True

    def _records(self):
        """Yields images and features, (n,) and (n, D), some at a time."""
        n_records = max(1, BLOCK_BYTES // self._record_type.itemsize)
        self._file.seek(self._start)
        while len(records := numpy.fromfile(self._file, self._record_type, n_records)):
            yield records['image'], records['features']
