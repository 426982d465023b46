"""Captions of similar images: from index_captions.py to the scripts that use them."""

import json

import chainer
import h5py
import numpy
import pytest

from lib.decoding.neighbors import NeighborIndex
from lib.errors import InputError
from lib.features.formats import read_features
from lib.features.writer import save_features
from tests.helpers.assertions import assert_input_error
from tests.helpers.scripts import run_script
from tests.helpers.server import ServedFolder, serving


@pytest.fixture(scope='module')
def index(data, tmp_path_factory):
    """An index of the images of the fixture ``data``."""
    path = tmp_path_factory.mktemp('index') / 'index.h5'
    process = run_script(
        'index_captions.py', *('-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', path)
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == f'wrote {path}: 18 images, 90 captions, 0.0 MB\n'
    return path


def evaluate(data, trained, *flags):
    inputs = '-m', trained[0] / 'best.h5', '-s', data / 'captions.h5', '-i', data / 'feats.mat'
    return run_script('evaluate.py', *inputs, *flags)


def test_evaluation_ranks_by_neighbors(data, trained, index, tmp_path):
    texts = []
    for name, flags in (
        ('beam', []),
        ('neighbors', ['--index', index]),
        ('both', ['--mbr-neighbors', 5, '--mbr-samples', 10, '--index', index]),
        ('other', ['--index', index, '--index-features', data / 'feats.mat']),
        ('defaults', ['--index', index, '--beam-width', 50, '--mbr-neighbors', 100]),
        ('off', ['--index', index, '--mbr-neighbors', 0]),
    ):
        process = evaluate(data, trained, '--json', tmp_path / f'{name}.json', *flags)
        assert process.returncode == 0, process.stderr
        results = json.loads((tmp_path / f'{name}.json').read_text())
        texts.append([result['caption'] for result in results])
    assert texts[0] == texts[5] != texts[1] == texts[3] == texts[4]


def test_an_index_of_several_files_is_the_same(data, index, tmp_path):
    paths, array = [], read_features(data / 'feats.mat').rows
    for number, rows in enumerate(numpy.split(array, [11])):
        paths.append(tmp_path / f'{number}.h5')
        save_features(paths[-1], rows)
    process = run_script(
        'index_captions.py',
        *('-s', data / 'captions.h5', '-i', *paths, '-o', tmp_path / 'index.h5'),
    )
    assert process.returncode == 0, process.stderr
    with h5py.File(index) as expected, h5py.File(tmp_path / 'index.h5') as actual:
        for name in expected:
            if isinstance(expected[name], h5py.Dataset):
                numpy.testing.assert_array_equal(actual[name][()], expected[name][()])


def test_wrong_use_is_an_error_message(data, trained, index, tmp_path):
    use = '--mbr-neighbors', 5, '--index', index
    process = evaluate(data, trained, *use, '--split', 'train')
    assert_input_error(process, 'index.h5', 'captions of 18 of the images')
    save_features(tmp_path / 'wide.h5', numpy.ones((30, 9), 'float32'))
    process = evaluate(data, trained, *use, '--index-features', tmp_path / 'wide.h5')
    assert_input_error(process, 'size 8, not 9')
    shuffled = read_features(data / 'feats.mat').rows[:, ::-1]
    save_features(tmp_path / 'other.h5', shuffled)
    process = evaluate(data, trained, *use, '--index-features', tmp_path / 'other.h5')
    assert_input_error(process, 'index.h5: was made of other features than those of', 'other.h5')
    arguments = '-s', data / 'captions.h5', '-i', tmp_path / 'other.h5', '-o', tmp_path / 'index.h5'
    assert run_script('index_captions.py', *arguments).returncode == 0
    process = evaluate(data, trained, '--mbr-neighbors', 5, '--index', tmp_path / 'index.h5')
    assert_input_error(process, 'was made of other features')
    process = evaluate(data, trained, '--mbr-neighbors', 5, '--index', data / 'captions.h5')
    assert_input_error(process, 'captions.h5: not an index file; index_captions.py writes one')
    process = run_script('index_captions.py', '-s', data / 'captions.h5', '-i', tmp_path / 'no.mat')
    assert_input_error(process, 'no.mat', 'No such file')
    output = '-o', data / 'captions.h5'
    process = run_script(
        'index_captions.py', '-s', data / 'captions.h5', '-i', data / 'feats.mat', *output
    )
    assert_input_error(process, 'captions.h5')


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--mbr-neighbors', 5], '--mbr-neighbors needs --index, which index_captions.py writes'),
        (['--index-features', 'no.h5'], '--index-features: needs --index'),
        (
            ['--mbr-neighbors', 5, '--index', 'no.h5', '--search', 'sample'],
            '--mbr-neighbors cannot be combined with search sample',
        ),
    ],
)
def test_flags_that_need_each_other_are_checked_before_files(flags, message):
    process = run_script('evaluate.py', '-m', 'no.h5', *flags)
    assert_input_error(process, message)
    if '--index-features' not in flags:
        process = run_script('generate_caption.py', 'no.jpg', '-m', 'no.h5', '-i', 'no', *flags)
        assert_input_error(process, message)


@pytest.mark.parametrize('name', ['vectors', 'tokens', 'first_caption', 'topics', 'fingerprints'])
def test_damaged_files_are_rejected(index, tmp_path, name):
    damaged, features = tmp_path / 'damaged.h5', numpy.ones((2, 8), 'float32')
    for damage in (
        lambda array: array[1:],
        lambda array: array[::-1],
        lambda array: array.astype('float64'),
        lambda array: numpy.zeros_like(array),
    ):
        damaged.write_bytes(index.read_bytes())
        with h5py.File(damaged, 'r+') as file:
            array = damage(file[name][()])
            del file[name]
            file[name] = array
        # It is refused, or can be used.
        try:
            loaded = NeighborIndex.load(damaged, chainer.get_device('@numpy'))
        except InputError as error:
            assert str(error).startswith(f'{damaged}: ')
        else:
            assert len(loaded.references(features, 3)) == 2


def test_scripts_and_server_rank_by_neighbors(tmp_path):
    folder = ServedFolder(tmp_path)
    captions = 'a dog', 'a dog cat', 'a dog cat runs'  # the vocabulary of the models
    lines = ''.join(f'{n}.jpg\t{caption}\n' for n in range(20) for caption in captions)
    (tmp_path / 'train.tsv').write_text(lines)
    for script, *flags in (
        ('preprocess_vocab.py', tmp_path / 'train.tsv', '-o', tmp_path / 'c.h5', '--min-count', 1),
        (
            'extract_features.py',
            *('-i', folder.cnn, '--dataset', tmp_path / 'train.tsv', '--image-root', tmp_path),
            *('-o', tmp_path / 'f.h5', '--layer', 'pool5/7x7_s1', 'inception_4a/output'),
            *('--pool', 'average', '--augment', 'flip', '--mean', 104, 117, 123),
        ),
        (
            'index_captions.py',
            *('-s', tmp_path / 'c.h5', '-i', tmp_path / 'f.h5', '-o', tmp_path / 'index.h5'),
        ),
    ):
        process = run_script(script, *flags)
        assert process.returncode == 0, process.stderr
    index = '--index', tmp_path / 'index.h5'
    plain, expected = folder.captions(), folder.captions(*index)
    assert plain != expected
    with serving(*folder.arguments, *index) as server:
        assert server.health()['has_index']
        for path in folder.images[:3]:
            status, answer = server.post(path)
            assert status == 200
            assert [caption['caption'] for caption in answer['images'][0]['captions']] == [
                caption['caption'] for caption in expected[path.name]['captions']
            ]
            # Where neighbors are not asked for, nothing changes.
            _, answer = server.post(path, mbr_neighbors=0)
            assert (
                answer['images'][0]['captions'][0]['caption']
                == (plain[path.name]['captions'][0]['caption'])
            )
