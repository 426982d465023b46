"""Features in every format are read, and what is something else is an error of one line."""

import contextlib
import io
import subprocess
import sys
import time
import zipfile

import h5py
import numpy
import pytest
import scipy.io

from lib.errors import InputError
from lib.features import arrays, formats, writer
from lib.features.feature_source import ExternalSource, FeatureSource
from lib.features.formats import read_features
from lib.features.writer import save_features
from lib.files.output import open_output
from tests.helpers.scripts import run_python

FEATURES = numpy.random.RandomState(0).randn(6, 4).astype('float32')
NAMES = [f'{n}.jpg' for n in range(6)]
SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [1.0, 2.0, 3.0], 'warp')


def npy(values, **options):
    buffer = io.BytesIO()
    numpy.lib.format.write_array(buffer, values, **options)
    return buffer.getvalue()


def npz(save=numpy.savez, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def matlab(compressed=False, **variables):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=compressed)
    return buffer.getvalue()


def hdf5(entries, user_block=0, **options):
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w', userblock_size=user_block) as file:
        for name, value in entries.items():
            file.create_dataset(name, data=value, **options)
    return buffer.getvalue()


def matlab_73(values):
    """Returns HDF5 as MATLAB writes it, after a header."""
    content = hdf5({'feats': values}, user_block=512)
    return b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(512) + content[512:]


def matlab_73_with_cells():
    """Returns HDF5 as MATLAB writes it with a cell array, which refers to its cells."""
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w', userblock_size=512) as file:
        file['feats'] = FEATURES
        cells = [file.create_dataset(f'#refs#/{name}', data=[1, 2]).ref for name in NAMES]
        file.create_dataset('filenames', data=numpy.array(cells)[None], dtype=h5py.ref_dtype)
    return b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(512) + buffer.getvalue()[512:]


def read(tmp_path, content):
    path = tmp_path / 'feats'
    path.write_bytes(content)
    return read_features(path)


WRITERS = {
    'npy': npy,
    'npy of version 2': lambda values: npy(values, version=(2, 0)),
    'npy in Fortran order': lambda values: npy(numpy.asfortranarray(values)),
    'npz': lambda values: npz(features=values),
    'npz, compressed': lambda values: npz(numpy.savez_compressed, feats=values),
    'npz in Fortran order': lambda values: npz(features=numpy.asfortranarray(values)),
    'MATLAB 5': lambda values: matlab(feats=values.T, other=1),
    'MATLAB 5, compressed': lambda values: matlab(feats=values.T, compressed=True),
    'MATLAB 7.3': matlab_73,
    'HDF5': lambda values: hdf5({'features': values}),
    'HDF5 in chunks': lambda values: hdf5({'feats': values}, chunks=(3, 2), compression='gzip'),
    'keyed HDF5': lambda values: hdf5(dict(zip(NAMES, values))),
}
MAPPED = 'npy', 'npy of version 2', 'MATLAB 7.3', 'HDF5'


@pytest.mark.parametrize('block', [1 << 22, 8])
@pytest.mark.parametrize('dtype', ['f4', 'f8', '>f4', '>f8', 'u1', 'i4', 'f2'])
@pytest.mark.parametrize('name', WRITERS)
def test_values_of_any_type_are_read(tmp_path, monkeypatch, name, dtype, block):
    monkeypatch.setattr(formats, 'BLOCK', block)
    if 'MATLAB 5' in name and dtype == 'f2':
        dtype = 'i2'  # MATLAB has no such floats
    values = (10 * FEATURES).astype(dtype)
    file = read(tmp_path, WRITERS[name](values))
    assert file.path == str(tmp_path / 'feats')
    assert isinstance(file.rows, numpy.memmap) == (name in MAPPED)
    assert file.rows.dtype == (dtype if name in MAPPED else 'float32')
    assert file.rows.flags.c_contiguous
    numpy.testing.assert_array_equal(file.rows.astype('f4'), values.astype('f4'))
    of_matlab = name.startswith('MATLAB') or 'chunks' in name
    assert file.source == (None if of_matlab else ExternalSource(['feats']))
    assert file.keys == ({'names': NAMES} if 'keyed' in name else {})


def test_types_that_numpy_lacks_are_read(tmp_path):
    bfloat16 = h5py.h5t.IEEE_F32LE.copy()
    bfloat16.set_fields(15, 7, 8, 0, 7)
    bfloat16.set_size(2)
    bfloat16.set_ebias(127)
    content = hdf5({'feats': numpy.ones((3, 4), 'f4')}, dtype=h5py.Datatype(bfloat16))
    rows = read(tmp_path, content).rows
    assert not isinstance(rows, numpy.memmap)
    numpy.testing.assert_array_equal(rows, numpy.ones((3, 4)))


def test_too_little_memory_is_an_error_of_formats_that_are_not_mapped(tmp_path, monkeypatch):
    def check_memory(n_bytes, what):
        if n_bytes > 90:
            raise InputError(f'{what} would take {n_bytes} bytes')

    monkeypatch.setattr(arrays, 'check_memory', check_memory)
    for name, write in WRITERS.items():
        if name in MAPPED:
            read(tmp_path, write(FEATURES))
        else:
            with pytest.raises(InputError, match=r'which is not mapped .* would take \d+ bytes'):
                read(tmp_path, write(FEATURES))


def claim_huge():
    """Returns the header of a petabyte, and little else."""
    buffer = io.BytesIO()
    header = {'descr': '<f4', 'fortran_order': False, 'shape': (10**10, 10**5)}
    numpy.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + b'0' * 100


def claim_huge_in_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        file.writestr('features.npy', claim_huge())
    return buffer.getvalue()


def claim_huge_in_hdf5():
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        file.create_dataset('features', (10**9, 10**5), 'f4')
    return buffer.getvalue()


def link_to(name):
    """Returns HDF5 with an entry that is in another file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        file['0.jpg'] = FEATURES[0]
        file[name] = h5py.ExternalLink('other.h5', f'/{name}')
    return buffer.getvalue()


def refer():
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        file['features'] = FEATURES
        file['filenames'] = numpy.array([file['features'].ref] * 6, h5py.ref_dtype)
    return buffer.getvalue()


def with_negative_size():
    """Returns a MATLAB file whose array claims to have -6 columns."""
    content = matlab(feats=FEATURES.T)
    return content.replace(b'\x04\0\0\0\x06\0\0\0', b'\x04\0\0\0\xfa\xff\xff\xff')


OBJECTS = numpy.array(['a.jpg', None, 'c', 'd', 'e', 'f'], object)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'not a file of features'),
        (b'text' * 100, 'not a file of features in .npy, .npz, HDF5 or MATLAB 5'),
        (npy(FEATURES[0]), 'the array is 4; expected N x D'),
        (npy(FEATURES[None]), 'the array is 1 x 6 x 4'),
        (npy(FEATURES * 1j), 'the array contains complex'),
        (npy(FEATURES > 0), 'the array contains bool, not real numbers'),
        (npy(numpy.array([NAMES])), 'the array contains str'),
        (npy(OBJECTS), 'not a file of features, or damaged'),
        (npy(FEATURES[:0]), 'the array is 0 x 4'),
        (claim_huge(), 'not a file of features, or damaged'),
        (claim_huge_in_zip(), 'not a file of features, or damaged'),
        (claim_huge_in_hdf5(), 'would take .* of memory'),
        (npz(other=FEATURES, more=FEATURES), 'has no array "features", only: other, more'),
        (npz(), 'has no array "features", only: nothing'),
        (npz(features=FEATURES[0]), 'features is 4; expected N x D'),
        (npz(features=OBJECTS), 'features cannot be read .* of strings or numbers'),
        (npz(features=FEATURES, filenames=NAMES[1:]), 'has 5 filenames, but features of 6'),
        (npz(features=FEATURES, image_names=NAMES[1:]), 'has 5 image_names, but features of 6'),
        (hdf5({'a': FEATURES[0], 'pca': FEATURES}), 'no array "features", only: a, pca'),
        (matlab_73_with_cells(), 'filenames is a cell array, which is not read of MATLAB 7.3'),
        (npz(features=FEATURES, ids=numpy.arange(7)), 'has 7 ids, but features of 6'),
        (npz(features=FEATURES, filenames=OBJECTS), 'filenames cannot be read .* of strings'),
        (
            npz(features=FEATURES, image_ids=numpy.eye(6, dtype=int)),
            'image_ids is not an array .N,',
        ),
        (npz(features=FEATURES, names=OBJECTS), 'names cannot be read .* of strings'),
        (hdf5({'features': FEATURES, 'filenames': ['a']}), 'has 1 filenames'),
        (
            hdf5({'feats': FEATURES, 'filenames': [97], 'filenames_offsets': [0, 1]}),
            'has 1 filenam',
        ),
        (hdf5({'features': FEATURES, 'ids': numpy.ones(6)}), 'ids is not an array .* of distinct'),
        (hdf5({'features': FEATURES, 'ids': 3}), 'ids is not an array .* integers'),
        (hdf5({'a': FEATURES[0], 'b': FEATURES[0, :2]}), '"b" is 2, but "a" a vector of 4'),
        (hdf5({'a': FEATURES[0], 'b': FEATURES, 'c': FEATURES}), 'no array "features", only: a, b'),
        (hdf5({'a': FEATURES[0], 'b': 'text'}), '"b" is not an array'),
        (hdf5({'a': FEATURES[0] * 1j}), '"a" contains complex'),
        (hdf5({}), 'no matrix "features", only: nothing'),
        (refer(), '"/filenames" refers to something else'),
        (link_to('1.jpg'), '"/1.jpg" refers to something else'),
        (link_to('feats'), '"/feats" refers to something else'),
        (matlab(features=FEATURES), 'no variable "feats", only: features'),
        (matlab(feats=numpy.ones((2, 3, 4))), 'feats is 2 x 3 x 4'),
        (matlab(feats=numpy.ones((0, 4))), '0 x 4'),
        (with_negative_size(), '-6'),
        (matlab(feats=FEATURES.T, names=numpy.array(NAMES[1:], object)), 'names is not an array'),
        (matlab(feats=FEATURES * 1j), 'complex'),
        (matlab(feats='text'), 'feats is 1'),
        (matlab(feats={'a': 1}), 'feats contains struct'),
    ],
)
def test_other_content_is_an_error_that_says_what_is_wrong(tmp_path, content, message):
    with pytest.raises(InputError, match=f'feats.*{message}') as raised:
        read(tmp_path, content)
    assert '\n' not in str(raised.value)


IDS = numpy.array([6, 3, 9, 1, 12, 0])


@pytest.mark.parametrize(
    'content, keys',
    [
        (npz(fc7=FEATURES, paths=NAMES), {'paths': NAMES}),
        (npz(features=FEATURES, image_ids=IDS, other=3), {'image_ids': IDS.tolist()}),
        (npz(features=FEATURES, image_ids=IDS[:, None] * 1.0), {'image_ids': IDS.tolist()}),
        (npz(ids=IDS, features=FEATURES[:, :1]), {'ids': IDS.tolist()}),
        (npz(features=FEATURES, boxes=IDS / 2, labels=IDS * 0, widths=IDS[1:]), {}),
        (hdf5({'emb': FEATURES, 'image_id': IDS, 'names': NAMES}), {
            'image_id': IDS.tolist(), 'names': NAMES,
        }),
        (hdf5({'feats': FEATURES, 'keys': numpy.array(NAMES, 'S')}), {'keys': NAMES}),
        (matlab(feats=FEATURES.T, image_ids=IDS), {'image_ids': IDS.tolist()}),
        (matlab(feats=FEATURES.T, files=[*NAMES[:5], 'longer.jpg']), {
            'files': [*NAMES[:5], 'longer.jpg'],
        }),
        (matlab(feats=FEATURES.T, files=numpy.array(NAMES, object)), {'files': NAMES}),
    ],
)  # fmt: skip
def test_arrays_that_say_which_images_rows_are_of_are_read(tmp_path, content, keys):
    file = read(tmp_path, content)
    assert file.keys == keys
    numpy.testing.assert_array_equal(file.rows, FEATURES[:, : file.rows.shape[1]])


def test_a_folder_of_vectors_is_read(tmp_path):
    (tmp_path / 'val').mkdir()
    for n, name in enumerate(['7', '12', 'val/1']):
        numpy.save(tmp_path / f'{name}.npy', FEATURES[n][None] if n else FEATURES[n])
    (tmp_path / 'README').touch()
    file = read_features(str(tmp_path))
    assert file.keys == {'names': ['12', '7', 'val/1']}
    numpy.testing.assert_array_equal(file.rows, FEATURES[[1, 0, 2]])
    numpy.save(tmp_path / 'val' / '2.npy', FEATURES)
    with pytest.raises(InputError, match='"val/2.npy" is 6 x 4; expected a vector of each image'):
        read_features(str(tmp_path))
    (tmp_path / 'val' / '2.npy').write_bytes(b'damaged')
    with pytest.raises(InputError, match='val/2.npy: not an array in .npy, or damaged'):
        read_features(str(tmp_path))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='has no files ID.npy, only: nothing'):
        read_features(str(tmp_path / 'empty'))


def test_vectors_in_a_folder_with_a_circle_of_links_are_read_once(tmp_path):
    numpy.save(tmp_path / '7.npy', FEATURES[0])
    (tmp_path / 'again').symlink_to(tmp_path)
    assert read_features(str(tmp_path)).keys == {'names': ['7']}


def test_a_table_of_numbers_is_an_error_that_says_how_to_convert_it(tmp_path):
    (tmp_path / 'a.csv').write_text('1,2\n3,4\n')
    with pytest.raises(InputError, match=r'numpy.save\("features.npy", numpy.loadtxt\(".*a.csv"'):
        read_features(str(tmp_path / 'a.csv'))


def test_a_file_that_another_program_writes_is_an_error_that_says_so(tmp_path):
    code = 'import h5py, sys; file = h5py.File(sys.argv[1], "r+"); input()'
    (tmp_path / 'a.h5').write_bytes(hdf5({'features': FEATURES}))
    command = [sys.executable, '-c', code, str(tmp_path / 'a.h5')]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                read_features(str(tmp_path / 'a.h5'))
            except InputError as error:
                assert 'a.h5: another program, perhaps a notebook, has it open' in str(error)
                break
            time.sleep(0.05)
        else:
            pytest.fail('was read')
        process.communicate()


def test_missing_files_are_an_error(tmp_path):
    with pytest.raises(InputError, match='none.npy: No such file'):
        read_features(tmp_path / 'none.npy')


@pytest.mark.parametrize('name', WRITERS)
def test_truncated_files_are_rejected(tmp_path, name):
    content = WRITERS[name](FEATURES)
    for length in range(1, len(content) - 50, 1 + len(content) // 40):
        with pytest.raises(InputError):
            read(tmp_path, content[:length])


def test_changed_files_are_read_or_rejected(tmp_path):
    rng = numpy.random.RandomState(0)
    content = npz(numpy.savez_compressed, features=FEATURES, filenames=NAMES)
    for _ in range(200):
        changed = bytearray(content)
        changed[rng.randint(len(content))] = rng.randint(256)
        try:
            assert read(tmp_path, changed).rows.shape == (6, 4)
        except InputError as error:
            assert '\n' not in str(error)


@pytest.mark.parametrize('source', [SOURCE, None])
@pytest.mark.parametrize('names', [['a.jpg', '', '犬.jpg', '', '', ''], None])
@pytest.mark.parametrize('name', ['feats.mat', 'feats.h5'])
def test_saved_features_are_read_unchanged(tmp_path, name, names, source):
    save_features(tmp_path / name, FEATURES, source, names)
    file = read_features(tmp_path / name)
    numpy.testing.assert_array_equal(file.rows, FEATURES)
    assert file.keys == ({} if names is None else {'filenames': names})
    assert file.source == source
    assert isinstance(file.rows, numpy.memmap) == (name == 'feats.h5')


def test_karpathys_tools_read_what_is_saved(tmp_path):
    save_features(tmp_path / 'feats.mat', FEATURES)
    numpy.testing.assert_array_equal(scipy.io.loadmat(tmp_path / 'feats.mat')['feats'], FEATURES.T)
    save_features(tmp_path / 'feats.h5', FEATURES)
    with h5py.File(tmp_path / 'feats.h5') as file:
        numpy.testing.assert_array_equal(file['feats'][()], FEATURES)


def test_features_are_saved_for_numpy(tmp_path):
    save_features(tmp_path / 'feats.npy', FEATURES, SOURCE, NAMES)
    numpy.testing.assert_array_equal(numpy.load(tmp_path / 'feats.npy'), FEATURES)
    with pytest.raises(InputError, match='feats.npz: choose a name that ends with .h5, .mat or'):
        save_features(tmp_path / 'feats.npz', FEATURES)


def test_features_too_large_for_matlab_5_are_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, 'MATLAB_5_LIMIT', 90)
    with pytest.raises(InputError, match='MATLAB 5'):
        save_features(tmp_path / 'feats.mat', FEATURES)
    assert list(tmp_path.iterdir()) == []


# Saves features under a growing limit on the size of files, as if the disk were full.
SAVE_WITH_LIMIT = """
import os, resource, sys
import numpy
from lib.features.formats import read_features
from lib.features.writer import save_features
from lib.files.output import open_output
path, features = sys.argv[1], numpy.ones((300, 50), 'float32')
n_failures = 0
for n_bytes in range(0, 200_000, 1537):
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
    try:
        save_features(path, features, None, ['a.jpg'] * 300)
    except OSError as error:
        assert error.filename == path and error.strerror == 'File too large', error
        assert open(path).read() == 'old'
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
        n_failures += 1
    else:
        assert (read_features(path).rows == features).all()
        break
print(n_failures)
"""


@pytest.mark.parametrize('name', ['feats.mat', 'feats.h5'])
def test_a_full_disk_is_a_clean_error(tmp_path, name):
    (tmp_path / name).write_text('old')
    process = run_python(SAVE_WITH_LIMIT, tmp_path / name)
    assert process.returncode == 0, process.stderr
    assert 40 <= int(process.stdout) < 130


class InterruptedFile:
    """A file in whose ``write`` a signal arrives."""

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, content):
        raise KeyboardInterrupt


@pytest.mark.parametrize('name', ['feats.mat', 'feats.h5', 'feats.npy'])
def test_a_signal_while_features_are_written_leaves_nothing(tmp_path, monkeypatch, name):
    @contextlib.contextmanager
    def open_interrupted(path):
        with open_output(path) as file:
            yield InterruptedFile(file)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, 'open_output', open_interrupted)
    monkeypatch.setattr(writer.h5py, 'File', interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_features(tmp_path / name, FEATURES, SOURCE, NAMES)
    assert list(tmp_path.iterdir()) == []
