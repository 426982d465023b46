"""Reading and writing files so that a crash never leaves half of one."""

import contextlib
import errno
import json
import os
import tempfile

import h5py

from lib.errors import InputError


@contextlib.contextmanager
def open_output(path):
    """Yields an open file, binary, that becomes ``path`` when the block ends.

    All that this program writes goes through here. The data are written to a temporary file
    beside ``path``, in a folder that is created if need be, and are on the disk before it replaces
    ``path``. If that fails or the block raises an exception, the temporary file is removed and
    ``path`` is left alone. A device or a pipe is written to as it is; of a symbolic link, the file
    that it names is replaced.

    Args:
        path (str): The file to write.

    Raises:
        OSError: If the file cannot be written; ``filename`` is ``path``.
    """
    path = os.fspath(path)
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f'.{name}.{os.getpid()}.tmp')
    try:
        if is_special_file(path):
            with open(path, 'ab' if os.path.isfile(path) else 'wb') as file:
                yield file
            return
        _make_folder(folder)
        try:
            with open(temporary, 'w+b') as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(OSError):
                os.remove(temporary)
    except OSError as error:
        if error.errno is None or error.filename not in (None, folder, temporary):
            raise
        raise OSError(error.errno, os.strerror(error.errno), path) from error


def check_output(path):
    """Checks that a file can be written, before the work whose result it is to hold.

    Raises:
        OSError: If the folder cannot be created or written to, or ``path`` is a folder.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if is_special_file(path):
        return
    folder = os.path.dirname(os.path.realpath(path))
    try:
        _make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno), path) from error


def _make_folder(folder):
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None


def is_special_file(path):
    """Returns whether something can only be written to, such as a pipe or a device.

    That includes ``/dev/stdout`` where it is redirected to a file, which others write to, too.
    """
    if os.path.abspath(path).startswith(('/dev/', '/proc/')):
        return True
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


class HDF5Output:
    """A file that h5py writes to, whose errors wait until HDF5 is done with it.

    HDF5's library crashes after a write that failed, on a full disk for example. So it is told
    that all went well, and :meth:`raise_error` says what did not.

    Args:
        file (io.BufferedRandom): The file that is written, empty.
    """

    def __init__(self, file):
        self._file, self._error = file, None
        self._position = self._size = 0

    def seek(self, position, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + position
        return self._position

    def tell(self):
        return self._position

    def read(self, size=-1):
        return self._keep_error(self._file.read, size) or b''

    def write(self, data):
        self._keep_error(self._file.write, data)
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def truncate(self, size=None):
        self._size = self._position if size is None else size
        self._keep_error(self._file.truncate, self._size)
        return self._size

    def flush(self):
        self._keep_error(self._file.flush)

    def raise_error(self):
        """Raises the first error of an operation, if there was any."""
        if self._error is not None:
            raise self._error

    def _keep_error(self, operate, *arguments):
        """Does something at the current position, unless something has failed already."""
        if self._error is None:
            try:
                self._file.seek(self._position)
                return operate(*arguments)
            except OSError as error:
                self._error = error
        return None


def write_json(path, content):
    """Writes indented JSON; bytes of file names that are not UTF-8 become JSON escapes."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    with open_output(path) as file:
        file.write(text.encode(errors='backslashreplace'))


@contextlib.contextmanager
def write_hdf5(path, kind=None):
    """Yields an open HDF5 file that becomes ``path``.

    Args:
        path (str): File to write.
        kind (str): ``'captions'``, ``'model'`` or ``'snapshot'`` marks it as one of our formats.
    """
    with open_output(path) as file:
        output = HDF5Output(file)
        with h5py.File(output, 'w') as hdf5:
            if kind is not None:
                hdf5.attrs['format'] = _format_of(kind)
            yield hdf5
        output.raise_error()


@contextlib.contextmanager
def read_hdf5(path, kind, written_by):
    """Yields an HDF5 file that :func:`write_hdf5` wrote, open for reading.

    Args:
        path (str): File to read.
        kind (str): As for :func:`write_hdf5`.
        written_by (str): The script that writes such files, for error messages.

    Raises:
        InputError: If the file is missing, of another kind or damaged; errors of h5py,
            NumPy and Chainer in the block count as damage.
    """
    try:
        with h5py.File(path) as file:
            if file.attrs.get('format') != _format_of(kind):
                raise InputError(f'{path}: not a {kind} file; {written_by} writes one')
            check_self_contained(path, file)
            yield file
    except FileNotFoundError:
        raise InputError(f'{path}: no such file; {written_by} writes it') from None
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f'{path}: {os.strerror(error.errno)}') from error
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f'{path}: not a {kind} file, or damaged; {written_by} writes one'
        ) from error


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


def _format_of(kind):
    return f'show-and-tell {kind} 1'
