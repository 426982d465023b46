"""Features extracted so far, so that an interrupted extraction can continue."""

import glob
import json
import os
import re
import zlib

import chainer
import numpy

from lib.errors import InputError
from lib.files.output import errors_naming

FORMAT = 'show-and-tell partial features 1'
# Bytes of records that are read at a time.
BLOCK_BYTES = 1 << 24


def partial_path(path: str, rank: int = 0) -> str:
    """Returns where a process keeps features until all of them can be written to ``path``."""
    return f'{path}.{rank}.partial' if rank else f'{path}.partial'


class PartialFeatures:
    """Keeps the features extracted so far in ``PATH.partial``, beside the final file.

    The file only grows, by records of an image's number, its file's size, its features and a
    checksum. Whenever the program is killed, all but the last record are complete; after a power
    loss, some at the end may be damaged, which are dropped. Several processes have a file each, and
    whoever continues reads those of all.

    Args:
        path (str): The file that all features will be written to.
        sizes (array): The size of each image's file, (n_images,), integers. Features of a file of
            another size, which has been replaced, do not count.
        settings (dict): What is extracted from which images, JSON values.
        rank (int): The process, if several extract features.

    Attributes:
        done (array): Whether the features of each image have been kept before, or since then by
            this process, (n_images,), bool.
        size (int): Size of the features, None if there are none.

    Raises:
        InputError: If a file contains anything but features that were extracted with these
            settings.
        OSError: If a file cannot be read or written.
    """

    def __init__(self, path, sizes, settings, rank=0):
        self._sizes = numpy.asarray(sizes, '<i8')
        self._output = os.fspath(path)
        self._own_path = partial_path(path, rank)
        self._first_line = f'{FORMAT} {json.dumps(settings)}\n'.encode()
        self.done = numpy.zeros(len(self._sizes), bool)
        self.size = None
        for images, _ in self._records():
            self.done[images] = True

    def put(self, images, features):
        """Adds the features (n, D) of some images, from any device."""
        features = chainer.get_device('@numpy').send(features)
        size = features.shape[1]
        if self.size not in (None, size):
            raise InputError(
                f'{self._own_path}: has features of size {self.size}, but the network computes '
                f'{size}; delete the file'
            )
        self.size = size
        records = numpy.empty(len(images), self._record_type)
        records['image'] = images
        records['file_size'] = self._sizes[images]
        records['features'] = features
        records['checksum'] = [_checksum(record) for record in records]
        with errors_naming(self._own_path):
            os.makedirs(os.path.dirname(os.path.abspath(self._own_path)), exist_ok=True)
        with errors_naming(self._own_path), open(self._own_path, 'ab') as file:
            header = b'' if file.tell() else self._first_line + f'{size}\n'.encode()
            file.write(header + records.tobytes())  # in one piece, whenever a signal comes
            file.flush()
            os.fsync(file.fileno())
        self.done[images] = True

    def collect(self, rows, n_rows):
        """Returns the features that all processes have kept.

        Args:
            rows (array): The row that each image takes, (n_images,), integers.
            n_rows (int): Number of rows.

        Returns:
            array: (n_rows, D), float32; NaN where there are none.
        """
        result = None
        for images, features in self._records():
            if result is None:
                result = numpy.full((n_rows, self.size), numpy.nan, 'float32')
            result[rows[images]] = features
        return result

    def remove(self):
        """Deletes the files of all processes."""
        for path in self._paths():
            os.remove(path)

    def _paths(self):
        paths = glob.glob(f'{glob.escape(self._output)}.*partial')
        suffix = re.compile(r'\.(\d+\.)?partial')
        return sorted(path for path in paths if suffix.fullmatch(path, len(self._output)))

    @property
    def _record_type(self):
        return numpy.dtype(
            [
                ('image', '<i4'),
                ('file_size', '<i8'),
                ('features', '<f4', (self.size,)),
                ('checksum', '<u4'),
            ]
        )

    def _records(self):
        """Yields images and features, (n,) and (n, D), some at a time."""
        for path in self._paths():
            with errors_naming(path), open(path, 'r+b') as file:
                yield from self._records_of(path, file)

    def _records_of(self, path, file):
        first_line = file.readline()
        size = file.readline()
        is_beginning = self._first_line.startswith(first_line) and not size.endswith(b'\n')
        if is_beginning or not first_line.strip(b'\0'):
            file.truncate(0)  # nothing but the beginning of a header is left, or zeros
            return
        if first_line != self._first_line:
            raise InputError(
                f'{path}: has features that were extracted from other images or in another way; '
                'delete it or choose another output'
            )
        self.size = int(size)
        n_records = max(1, BLOCK_BYTES // self._record_type.itemsize)
        end = file.tell()
        while len(records := numpy.fromfile(file, self._record_type, n_records)):
            n_intact = next(
                (n for n, record in enumerate(records) if record['checksum'] != _checksum(record)),
                len(records),
            )
            end += n_intact * records.itemsize
            intact = records[:n_intact]
            current = intact[intact['file_size'] == self._sizes[intact['image']]]
            yield current['image'], current['features']
            if n_intact < len(records):
                break
        file.truncate(end)  # so that no record is added to an incomplete one


def _checksum(record):
    return zlib.crc32(record.tobytes()[: -record['checksum'].nbytes])
