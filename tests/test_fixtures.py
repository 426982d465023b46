"""Files of the current version of each format can be read; see tests/fixtures/README.md."""

import shutil
from pathlib import Path

import numpy
import pytest

from lib.captions.dataset import CaptionDataset
from lib.trained_model import TrainedModel
from tests.helpers.samples import dataset, features_of, write_json, write_matlab
from tests.helpers.scripts import ROOT, run_script
from tests.helpers.training import read_log, train

FIXTURES = Path(ROOT, 'tests', 'fixtures')
FLAGS = '--standardize --dropout 0.1'


def run(script, *arguments):
    process = run_script(script, *arguments)
    assert process.returncode == 0, process.stderr


def content():
    """Returns the dataset.json that the files were made of; not all of it is ASCII."""
    content = dataset()
    content['images'][0]['sentences'][0] |= {'tokens': ['犬', 'naïve'], 'raw': '犬 naïve'}
    return content


def write_fixtures(folder):
    """Writes a file of each format to a folder."""
    captions, features = folder / 'captions.h5', folder / 'feats.mat'
    dataset_json = write_json(folder / 'dataset.json', content())
    write_matlab(features, features_of(content()))
    run('preprocess_vocab.py', dataset_json, '-o', captions, '--min-count', 1)
    process = train(folder, folder / 'result', FLAGS, '--epoch 1')
    assert process.returncode == 0, process.stderr
    shutil.move(folder / 'result' / 'best.h5', folder / 'model.h5')
    shutil.move(folder / 'result' / 'snapshot.h5', folder / 'snapshot.h5')
    run('index_captions.py', '-s', captions, '-i', features, '-o', folder / 'index.h5')
    shutil.rmtree(folder / 'result')
    features.unlink()
    dataset_json.unlink()


@pytest.fixture
def folder(tmp_path):
    """A folder with the files, and with the features that they were made of."""
    shutil.copytree(FIXTURES, tmp_path, dirs_exist_ok=True)
    write_matlab(tmp_path / 'feats.mat', features_of(content()))
    return tmp_path


def test_captions_are_those_of_the_data_set(folder):
    captions = CaptionDataset.load(folder / 'captions.h5')
    sentences = [sentence for image in content()['images'] for sentence in image['sentences']]
    assert captions.raw.tolist() == [sentence['raw'].strip() for sentence in sentences]
    assert captions.vocabulary.decode(captions.tokens_of(0)) == '犬 naïve'
    assert captions.imgid.tolist() == list(range(30))
    # The model says which captions it was trained on.
    assert TrainedModel.load(folder / 'model.h5').run['data']['captions'] == captions.fingerprint()


def test_models_and_indexes_can_be_used(folder):
    files = ['-m', folder / 'model.h5', '-s', folder / 'captions.h5', '-i', folder / 'feats.mat']
    run('evaluate.py', *files, '--index', folder / 'index.h5', '--split', 'test')
    parameters = TrainedModel.load(folder / 'model.h5').network.params()
    assert all(numpy.isfinite(parameter.array).all() for parameter in parameters)


def test_trainings_can_be_resumed(folder):
    (folder / 'result').mkdir()
    shutil.move(folder / 'snapshot.h5', folder / 'result' / 'snapshot.h5')
    process = train(folder, folder / 'result', FLAGS, '--epoch 2 --resume')
    assert process.returncode == 0, process.stderr
    assert [entry['epoch'] for entry in read_log(folder / 'result')] == [1, 2]


if __name__ == '__main__':
    write_fixtures(FIXTURES)
