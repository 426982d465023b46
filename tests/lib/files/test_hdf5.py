import hashlib
import os

import h5py
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InputError
from lib.files.hdf5 import (
    USER_BLOCK_BYTES,
    check_self_contained,
    read_hdf5,
    read_text,
    read_texts,
    write_hdf5,
    write_text,
    write_texts,
)
from tests.helpers.scripts import run_python


def write(path, kind='model', n_weights=500):
    with write_hdf5(path, kind) as file:
        file['weights'] = numpy.random.RandomState(0).rand(n_weights)


def read(path, kind='model'):
    with read_hdf5(path, kind, advice='train.py writes one') as file:
        return file['weights'][()]


def test_read_hdf5_reads_what_write_hdf5_wrote(tmp_path):
    write(tmp_path / 'model.h5')
    numpy.testing.assert_array_equal(
        read(tmp_path / 'model.h5'), numpy.random.RandomState(0).rand(500)
    )
    with h5py.File(tmp_path / 'model.h5') as file:  # for other programs it is plain HDF5
        assert list(file) == ['weights']
    assert os.listdir(tmp_path) == ['model.h5']


@given(st.lists(st.text()), st.text())
def test_texts_of_any_characters_are_kept(texts, text):
    with h5py.File('memory', 'w', driver='core', backing_store=False) as file:
        write_texts(file, 'texts', texts)
        write_text(file, 'text', text)
        assert read_texts(file, 'texts') == texts
        assert read_text(file, 'text') == text


def test_any_changed_byte_is_damage(tmp_path):
    path = tmp_path / 'model.h5'
    write(path, n_weights=50)
    complete = path.read_bytes()
    padding, content = range(90, USER_BLOCK_BYTES, 17), range(USER_BLOCK_BYTES, len(complete), 61)
    for position in *range(90), *padding, *content, USER_BLOCK_BYTES - 1, len(complete) - 1:
        changed = bytearray(complete)
        changed[position] ^= 0x80 if position % 2 else 1
        path.write_bytes(changed)
        with pytest.raises(InputError, match='model.h5: (damaged|not a model|has version)'):
            read(path)


def test_missing_and_spare_bytes_are_damage(tmp_path):
    path = tmp_path / 'model.h5'
    write(path)
    complete = path.read_bytes()
    beginnings = [complete[:n] for n in (0, 10, 90, 300, 512, 600, 2000, len(complete) - 1)]
    for content in *beginnings, complete + b'\0', complete[USER_BLOCK_BYTES:], b'a text':
        path.write_bytes(content)
        with pytest.raises(InputError, match=r'model.h5: (damaged, not written|not a model)'):
            read(path)


def test_other_kinds_and_versions_are_refused(tmp_path, monkeypatch):
    path = tmp_path / 'index.h5'
    write(path, 'snapshot')
    with pytest.raises(InputError, match=r'index\.h5: not an index file; train\.py writes one'):
        read(path, 'index')
    monkeypatch.setattr('lib.files.hdf5.VERSIONS', {'index': 2})
    write(path, 'index')
    monkeypatch.setattr('lib.files.hdf5.VERSIONS', {'index': 1})
    with pytest.raises(InputError, match=r'index\.h5: has version 2 of the format, but .* 1; '):
        read(path, 'index')


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'none\.h5: no such file; train\.py writes one'):
        read(tmp_path / 'none.h5')
    with pytest.raises(InputError, match='Is a directory'):
        read(tmp_path)


def link_softly(file, other):
    file['weights'] = h5py.SoftLink('/other')


def link_externally(file, other):
    file['weights'] = h5py.ExternalLink(other, '/secret')


def store_externally(file, other):
    file.create_dataset('weights', (4,), 'uint8', external=[(other, 0, 4)])


def map_virtually(file, other):
    layout = h5py.VirtualLayout((3,), 'float64')
    layout[:] = h5py.VirtualSource(other, 'secret', (3,))
    file.create_virtual_dataset('weights', layout)


def refer(file, other):
    file['group/references'] = numpy.array([file.ref], h5py.ref_dtype)


ELSEWHERE = [link_softly, link_externally, store_externally, map_virtually, refer]


@pytest.mark.parametrize('add', ELSEWHERE)
def test_our_files_reach_no_other_one_though_their_checksum_is_right(tmp_path, add):
    other, path = str(tmp_path / 'other.h5'), tmp_path / 'model.h5'
    with h5py.File(other, 'w') as file:
        file['secret'] = numpy.ones(3)
    with write_hdf5(path, 'model') as file:
        file.create_group('group')
        add(file, other)
    with pytest.raises(InputError, match='model.h5: "/.*" refers to something else'):
        read(path)


def test_files_of_other_programs_may_be_circular(tmp_path):
    with h5py.File(tmp_path / 'circle.h5', 'w') as file:
        file['circle/circle'] = file['/']
        file['data'] = numpy.ones(3)
        file['link'] = h5py.SoftLink('/data')
        check_self_contained('circle.h5', file, ['circle/circle/data'])
        with pytest.raises(InputError, match='circle.h5: "/link"'):
            check_self_contained('circle.h5', file)


# Ends by a signal between two entries.
WRITE_AND_END = """
import os, signal, sys
from lib.cli.run import run_main
from lib.files.hdf5 import write_hdf5
def main():
    with write_hdf5(sys.argv[1], 'model') as file:
        file['a'] = [1, 2, 3]
        os.kill(os.getpid(), signal.SIGTERM)
        file['b'] = [4, 5, 6]
run_main(main)
"""


def test_a_signal_while_writing_keeps_the_old_file(tmp_path):
    (tmp_path / 'model.h5').write_text('old')
    process = run_python(WRITE_AND_END, tmp_path / 'model.h5')
    assert (process.returncode, process.stderr) == (143, '')
    assert (tmp_path / 'model.h5').read_text() == 'old'
    assert os.listdir(tmp_path) == ['model.h5']


def test_the_checksum_can_be_checked_by_hand(tmp_path):
    write(tmp_path / 'model.h5')
    first, second, rest = (tmp_path / 'model.h5').read_bytes().split(b'\n', 2)
    assert first == b'show-and-tell model 1'
    content = rest[USER_BLOCK_BYTES - len(first + second) - 2 :]
    assert second.decode() == hashlib.sha256(content).hexdigest()
