import pytest
from hypothesis import settings

import lib  # noqa: F401  patches Chainer, which tests import
from tests.helpers.samples import dataset, features_of, write_json, write_matlab
from tests.helpers.scripts import run_script
from tests.helpers.training import train

# The same examples in every run, and no deadline: a slow machine is not a failure.
settings.register_profile('stable', deadline=None, derandomize=True)
settings.load_profile('stable')


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """A folder with captions and features."""
    folder = tmp_path_factory.mktemp('data')
    content = dataset()
    path = write_json(folder / 'dataset.json', content)
    run_script('preprocess_vocab.py', path, '-o', folder / 'captions.h5', '--min-count', 1)
    write_matlab(folder / 'feats.mat', features_of(content))
    return folder


@pytest.fixture(scope='session')
def trained(data, tmp_path_factory):
    """A finished training of 12 epochs: its folder and its process."""
    folder = tmp_path_factory.mktemp('trained') / 'result'
    process = train(data, folder, '--epoch 12 --standardize --dropout 0.1')
    assert process.returncode == 0, process.stderr
    return folder, process
