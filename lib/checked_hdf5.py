"""Reading HDF5 files that may be damaged or hostile: every entry is checked before it is used."""

import itertools

import chainer
import h5py
import numpy
from chainer.serializers import HDF5Deserializer

from lib.errors import InputError


class DamagedError(ValueError):
    """An entry of a file is not what it must be; the message names the entry."""


class CheckedGroup:
    """A group of an HDF5 file whose entries are checked before memory is allocated for them.

    A size is a number or a name; all sizes with the same name must be equal.

    Args:
        group (h5py.Group): The group.
        version (int): The version of the format.
        strings (dict): In version 1, where texts are HDF5's strings, all of the file.

    Attributes:
        version (int): As above.
        sizes (dict): The size that each name has turned out to stand for.
    """

    def __init__(self, group, version, strings=None):
        self._group, self.version, self._strings, self.sizes = group, version, strings, {}

    def __contains__(self, name):
        return name in self._group

    def __getitem__(self, name):
        """Returns a group in this one."""
        if not isinstance(self._group.get(name), h5py.Group):
            raise DamagedError(f'{self._path(name)} is missing')
        return CheckedGroup(self._group[name], self.version, self._strings)

    def count_values(self):
        """Returns how many numbers the arrays in this group and the groups in it have."""
        counts = []
        self._group.visititems(lambda _, item: counts.append(getattr(item, 'size', None) or 0))
        return sum(counts)

    def array(self, name, dtype, shape, low=None, below=None):
        """Reads an array.

        Args:
            name (str): Its name.
            dtype (str): Its type in memory; the file's may be another one of the same kind.
            shape (tuple of int or str): Its sizes.
            low, below (int or str): Integers must be at least the one and less than the other:
                numbers, or names of sizes. Floats must be finite.

        Returns:
            array: NumPy array.

        Raises:
            DamagedError: If the array is missing, or not as described.
        """
        dtype, dataset = numpy.dtype(dtype), self._dataset(name, shape)
        if dataset.dtype.kind not in ('iu' if dtype.kind in 'iu' else dtype.kind):
            raise DamagedError(f'{self._path(name)} contains {dataset.dtype}, not {dtype}')
        array = dataset[()]
        if dtype.kind in 'iu':
            limits = numpy.iinfo(dtype)
            low = limits.min if low is None else low
            below = limits.max + 1 if below is None else self.sizes.get(below, below)
            for value in (int(array.min()), int(array.max())) if array.size else ():
                if not low <= value < below:
                    raise DamagedError(
                        f'{self._path(name)} contains {value}; its values are from {low} to '
                        f'{below - 1}'
                    )
        with numpy.errstate(over='ignore'):
            array = array.astype(dtype, copy=False)
        if dtype.kind == 'f' and not numpy.isfinite(array).all():
            raise DamagedError(f'{self._path(name)} contains NaN or infinite values')
        return array

    def offsets(self, name, n_parts, n_values):
        """Reads where each part of an array begins and ends.

        Args:
            name (str): Their name.
            n_parts, n_values (str): Names of the number of parts and the size of the array.

        Returns:
            array: (n_parts + 1,), int64, rising from 0 to the size of the array.
        """
        offsets = self.array(name, 'int64', (f'{n_parts} + 1',), low=0)
        self._bind(name, n_parts, len(offsets) - 1)
        self._bind(name, n_values, int(offsets[-1]) if len(offsets) else 0)
        if not len(offsets) or offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
            raise DamagedError(f'{self._path(name)} does not rise from 0')
        return offsets

    def text(self, name, default=None):
        """Reads what :func:`lib.hdf5.write_text` wrote, with a default for version 1."""
        if self.version == 1:
            prefix = self._group.name.strip('/')
            text = self._strings.get(f'{prefix}@{name}')
            if text is None:
                text = self._strings.get(f'{prefix}/{name}'.lstrip('/'), default)
            if not isinstance(text, str):
                raise DamagedError(f'{self._path(name)} is not a text')
            return text
        return self.array(name, 'uint8', (f'bytes of {name}',)).tobytes().decode()

    def texts(self, name, size):
        """Reads what :func:`lib.hdf5.write_texts` wrote.

        Returns:
            array: (size,), str objects.
        """
        if self.version == 1:
            texts = numpy.array(self._strings.get(name), object)
            if texts.ndim != 1 or not all(isinstance(text, str) for text in texts):
                raise DamagedError(f'{self._path(name)} is not an array of texts')
            self._bind(name, size, len(texts))
            return texts
        content = self.array(name, 'uint8', (f'bytes of {name}',)).tobytes()
        offsets = self.offsets(f'{name}_offsets', size, f'bytes of {name}').tolist()
        texts = [content[start:stop].decode() for start, stop in itertools.pairwise(offsets)]
        return numpy.array(texts, object)

    def _dataset(self, name, shape):
        """Returns a data set of this shape, all of whose values are in the file."""
        dataset = self._group.get(name)
        if not isinstance(dataset, h5py.Dataset):
            raise DamagedError(f'{self._path(name)} is missing')
        if dataset.shape is None or len(dataset.shape) != len(shape):
            raise DamagedError(f'{self._path(name)} does not have {len(shape)} dimensions')
        for expected, size in zip(shape, dataset.shape):
            self._bind(name, expected, size)
        # Otherwise a small file could claim to contain any number of values.
        if dataset.id.get_storage_size() < dataset.nbytes:
            raise DamagedError(f'{self._path(name)} is compressed or incomplete')
        return dataset

    def _bind(self, name, expected, size):
        """Checks a size, or gives it a name."""
        if isinstance(expected, str):
            known = self.sizes.setdefault(expected, size)
            if size != known:
                raise DamagedError(f'{self._path(name)} has {size} {expected}, not {known}')
        elif size != expected:
            raise DamagedError(f'{self._path(name)} has size {size}, not {expected}')

    def _path(self, name):
        return f'"{self._group.name.strip("/")}/{name}"'.replace('"/', '"')


class CheckedDeserializer(HDF5Deserializer):
    """Chainer's deserializer, which only reads what is like the value that it replaces.

    An array must have the same shape and kind and be finite, an integer must not be negative.

    Args:
        group (CheckedGroup): What to read.
        path (str): Where it is in the group; it need not exist if nothing is read from it.
    """

    def __init__(self, group, path=''):
        super().__init__(group)
        self._path = path

    def __getitem__(self, key):
        return CheckedDeserializer(self.group, self._join(key))

    def __call__(self, key, value):
        key = self._join(key)
        if isinstance(value, str):
            return self.group.text(key, default=value)
        is_array = isinstance(value, chainer.get_array_types())
        dtype = value.dtype if is_array else numpy.dtype(type(value))
        shape = value.shape if is_array else ()
        array = self.group.array(key, dtype, shape, low=0 if dtype.kind in 'iu' else None)
        if not is_array:
            return type(value)(array)
        value[...] = chainer.backend.get_device_from_array(value).send(array)
        return value

    def _join(self, key):
        return f'{self._path}/{key}'.replace('//', '/').lstrip('/')


def check_self_contained(path, group, names=None):
    """Checks that reading an HDF5 file reads no other one.

    Args:
        path (str): The file, for the error message.
        group (h5py.Group): The group to check, with all groups in it.
        names (iterable of str): The entries to check; by default all.

    Raises:
        InputError: If an entry is a link or a reference, or its data are in another file.
    """
    groups, seen = [(group, names)], set()
    while groups:
        group, names = groups.pop()
        for name in group if names is None else names:
            item = None
            if isinstance(group.get(name, getlink=True), h5py.HardLink):
                item = group[name]
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:  # hard links may form a circle
                    seen.add(address)
                    groups.append((item, None))
            elif not isinstance(item, h5py.Dataset) or _reaches_elsewhere(item):
                raise InputError(
                    f'{path}: "{group.name.rstrip("/")}/{name}" refers to something else, which '
                    'is not followed'
                )


def _reaches_elsewhere(dataset):
    return dataset.external or dataset.is_virtual or h5py.check_ref_dtype(dataset.dtype)
