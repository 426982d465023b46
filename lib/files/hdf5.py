"""Our HDF5 formats: written whole or not at all, with a checksum that finds any damage.

The file begins with a line that names its format, and a line with the SHA-256 of all that follows;
HDF5 skips both, as the file's *user block*. A damaged file can make the HDF5 library crash or hang,
so the checksum is verified before the library opens it.
"""

import contextlib
import hashlib
import itertools

import h5py
import numpy

from lib.errors import InputError
from lib.files.input import check_input
from lib.files.output import open_output

# The version of each format; a change that older programs cannot read needs a new number.
VERSIONS = {'captions': 1, 'model': 1, 'snapshot': 1, 'index': 2}
# HDF5's smallest.
USER_BLOCK_BYTES = 512
# Bytes that are read at a time.
BLOCK_BYTES = 1 << 24


@contextlib.contextmanager
def write_hdf5(path: str, kind: str):
    """Yields an open HDF5 file, in memory, that becomes ``path`` when the block ends.

    Args:
        path (str): File to write.
        kind (str): A key of :data:`VERSIONS`.
    """
    with h5py.File(
        path, 'w', driver='core', backing_store=False, userblock_size=USER_BLOCK_BYTES
    ) as hdf5:
        yield hdf5
        hdf5.flush()
        content = hdf5.id.get_file_image()  # without the user block
    with open_output(path) as file:
        file.write(_header(kind, hashlib.sha256(content)))
        file.write(content)


@contextlib.contextmanager
def read_hdf5(path: str, kind: str, advice: str):
    """Yields the content of a file that :func:`write_hdf5` wrote, an :class:`h5py.File`.

    Args:
        path (str): File to read.
        kind (str): As for :func:`write_hdf5`.
        advice (str): The end of an error message, such as what writes such files.

    Raises:
        InputError: If the file is missing, of another kind or version, damaged, or refers to
            another file.
    """
    try:
        check_input(path)
        with open(path, 'rb') as file:
            header = file.read(USER_BLOCK_BYTES)
            digest = hashlib.sha256()
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except FileNotFoundError:
        raise InputError(f'{path}: no such file; {advice}') from None
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    name, _, version = header.partition(b'\n')[0].decode(errors='replace').rpartition(' ')
    if name != f'show-and-tell {kind}':
        article = 'an' if kind == 'index' else 'a'
        raise InputError(f'{path}: not {article} {kind} file; {advice}')
    if version != str(VERSIONS[kind]):
        raise InputError(
            f'{path}: has version {version} of the format, but this program reads version '
            f'{VERSIONS[kind]}; {advice}'
        )
    if header != _header(kind, digest):
        raise InputError(
            f'{path}: damaged, not written to the end, or open in another program; {advice}'
        )
    with h5py.File(path, 'r') as hdf5:
        check_self_contained(path, hdf5)
        yield hdf5


def _header(kind, digest):
    """Returns the user block of a file whose other bytes have a digest."""
    header = f'show-and-tell {kind} {VERSIONS[kind]}\n{digest.hexdigest()}\n'
    return header.encode().ljust(USER_BLOCK_BYTES, b'\0')


def write_text(group, name, text):
    """Adds a text as an array of its bytes in UTF-8."""
    group[name] = numpy.frombuffer(text.encode(), 'uint8')


def read_text(group, name) -> str:
    """Reads what :func:`write_text` wrote."""
    return group[name][()].tobytes().decode()


def write_texts(group, name, texts):
    """Adds texts as one array of bytes, and ``NAME_offsets``, where each begins and ends.

    HDF5's own strings of variable length take many times the space and time.
    """
    encoded = [text.encode() for text in texts]
    group[name] = numpy.frombuffer(b''.join(encoded), 'uint8')
    group[f'{name}_offsets'] = numpy.cumsum([0, *map(len, encoded)], dtype='int64')


def read_texts(group, name) -> list[str]:
    """Reads what :func:`write_texts` wrote."""
    content = group[name][()].tobytes()
    offsets = group[f'{name}_offsets'][()].tolist()
    return [content[start:stop].decode() for start, stop in itertools.pairwise(offsets)]


def check_self_contained(path, group, names=None):
    """Checks that reading an HDF5 file reads no other one.

    Args:
        path (str): The file, for the error message.
        group (h5py.Group): The group to check, with all groups in it.
        names (iterable of str): The entries to check; by default all.

    Raises:
        InputError: If an entry is a link or a reference, or its data are in another file.
    """
    groups = [(group, names)]
    seen = set()
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
