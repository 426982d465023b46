"""Scripts compute the same from features in several files, of which not all fit in memory."""

import chainer
import numpy
import pytest

from lib.captions.dataset import CaptionDataset
from lib.errors import InputError, InputWarning
from lib.features.feature_file import Features, load_features, save_features
from lib.features.shared_features import load_shared_features
from lib.processes import Processes
from tests.helpers.assertions import assert_input_error
from tests.helpers.mpi import run_processes, why_no_mpi
from tests.helpers.scripts import run_script
from tests.helpers.training import SMALL, assert_same_training, train

FLAGS = '--epoch 2 --standardize --select-by CIDEr --reward CIDEr'
FILES = 'best.h5', 'epoch_002.h5', 'snapshot.h5'


@pytest.fixture(scope='module')
def shards(data, tmp_path_factory):
    """Three files with the features of the data set, which take 32 bytes each."""
    folder, paths = tmp_path_factory.mktemp('shards'), []
    array = load_features(data / 'feats.mat').array
    assert array.shape == (30, 8)
    for number, rows in enumerate(numpy.split(array, [3, 16])):
        paths.append(folder / f'{number}.h5')
        save_features(paths[-1], Features(rows))
    return paths


@pytest.fixture(scope='module')
def expected(data, trained, tmp_path_factory):
    """The folder of a training with all features in memory."""
    folder = tmp_path_factory.mktemp('expected') / 'result'
    process = train(data, folder, FLAGS, '-m', trained[0] / 'best.h5')
    assert process.returncode == 0, process.stderr
    return folder


def gib(n_bytes):
    return '--features-memory', n_bytes / 2**30


def train_on(shards, data, trained, output, *flags):
    inputs = '-s', data / 'captions.h5', '-i', *shards, '-o', output, '-m', trained[0] / 'best.h5'
    return run_script('train.py', *inputs, *SMALL.split(), *FLAGS.split(), *flags)


@pytest.mark.parametrize('n_bytes', [None, 0, 500, 10**6])
def test_training_is_the_same(data, shards, trained, expected, tmp_path, n_bytes):
    memory = [] if n_bytes is None else gib(n_bytes)
    process = train_on(shards, data, trained, tmp_path / 'result', *memory)
    assert process.returncode == 0, process.stderr
    n_kept = {0: 0, 500: 15}.get(n_bytes)
    note = f'note: the features of {n_kept} of 30 images are kept in memory, the others are read'
    assert process.stderr == ('' if n_kept is None else f'{note} for each batch\n')
    assert_same_training(tmp_path / 'result', expected, FILES)


def test_training_continues_with_less_memory(data, shards, trained, expected, tmp_path):
    assert train_on(shards, data, trained, tmp_path / 'result', '--epoch', 1).returncode == 0
    process = train_on(shards, data, trained, tmp_path / 'result', '--resume', *gib(400))
    assert process.returncode == 0, process.stderr
    assert_same_training(tmp_path / 'result', expected, FILES)


@pytest.mark.skipif(why_no_mpi() is not None, reason=why_no_mpi() or '')
@pytest.mark.parametrize('n_bytes', [0, 500])
def test_processes_share_what_is_in_memory(data, shards, tmp_path, n_bytes):
    flags = f'{FLAGS} --hidden 16 --batch-size 4 --communicator naive'.split()
    for name, paths, memory in (('all', [data / 'feats.mat'], []), ('some', shards, gib(n_bytes))):
        inputs = '-s', data / 'captions.h5', '-i', *paths, '-o', tmp_path / name
        process = run_processes(2, 'train.py', *inputs, *memory, *flags)
        assert process.returncode == 0, process.stderr
    assert process.stderr.count('are kept in memory') == 1
    assert_same_training(tmp_path / 'some', tmp_path / 'all', FILES)


def test_evaluation_is_the_same(data, shards, expected):
    outputs = []
    for paths, memory in ([data / 'feats.mat'], []), (shards, []), (shards, gib(500)):
        process = run_script(
            'evaluate.py',
            *('-m', expected / 'best.h5', '-s', data / 'captions.h5', '-i', *paths, *memory),
        )
        assert process.returncode == 0, process.stderr
        outputs.append(process.stdout)
    assert len(set(outputs)) == 1


def test_wrong_files_are_an_error_message(data, shards, trained, tmp_path):
    process = train_on([data / 'feats.mat'], data, trained, tmp_path / 'result', *gib(100))
    assert_input_error(process, 'feats.mat', 'not stored in one piece')
    process = train_on(shards[:2], data, trained, tmp_path / 'result')
    assert_input_error(process, '0.h5 to ', '1.h5: has features of 16 images')
    process = train_on(shards, data, trained, shards[0].parent, '--resume')
    assert_input_error(process, 'snapshot.h5')


def test_too_little_memory_names_the_option(data, shards, monkeypatch):
    dataset = CaptionDataset.load(data / 'captions.h5')
    monkeypatch.setattr('lib.device.available_memory', lambda: 400)

    def load(paths, memory=None):
        device = chainer.get_device('@numpy')
        images = numpy.arange(len(dataset.imgid))
        return load_shared_features(paths, dataset, images, device, 'float32', Processes(), memory)

    message = 'must limit .*h5, which would take'
    for paths in shards, shards[2:]:
        with pytest.raises(InputError, match=message) as raised:
            load(paths)
        assert raised.value.option == 'features_memory'
    with pytest.warns(InputWarning, match='features of 9 of 30 images'):
        assert len(load(shards, 300 / 2**30).array) == 30
