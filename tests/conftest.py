import os
import signal

import pytest
from hypothesis import HealthCheck, settings

import lib  # noqa: F401  patches Chainer, which tests import
from lib.device import select_device
from lib.errors import InputError
from lib.evaluation.java import has_java
from tests.helpers.samples import dataset, features_of, write_json, write_matlab
from tests.helpers.scripts import run_script
from tests.helpers.training import train

# The same examples in every run, and no deadline: a slow machine is not a failure. Devices are not
# changed by tests, so that all examples may share one.
settings.register_profile(
    'stable',
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile('stable')


def why_no_gpu():
    """Returns why there is no GPU, None if there is one."""
    try:
        select_device(0)
    except InputError as error:
        return str(error)
    select_device(-1)
    return None


NO_GPU = why_no_gpu()
PATH = os.environ['PATH']
# Scripts that are started here notice signals even if whoever started the tests ignores them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config):
    if NO_GPU and config.getoption('markexpr') == 'gpu':
        raise pytest.UsageError(NO_GPU)


def pytest_collection_modifyitems(items):
    """Lets ``-m gpu`` select all tests that compute on a GPU."""
    for item in items:
        if 'gpu' in getattr(item, 'fixturenames', ()):
            item.add_marker('gpu')


def pytest_report_header():
    return f'on the CPU only: {NO_GPU}' if NO_GPU else 'on the CPU and on the first GPU'


def pytest_generate_tests(metafunc):
    """Runs tests that take a ``device`` on the CPU and, if there is one, on a GPU."""
    if 'device' in metafunc.fixturenames:
        gpu = [] if NO_GPU else [pytest.param(0, id='gpu', marks=pytest.mark.gpu)]
        metafunc.parametrize('device', [pytest.param(-1, id='cpu'), *gpu], indirect=True)


@pytest.fixture
def device(request):
    """The device that a test computes on."""
    yield select_device(request.param)
    select_device(-1)


@pytest.fixture
def gpu():
    """The first GPU, for tests that make no sense on a CPU."""
    if NO_GPU:
        pytest.skip('no GPU')
    yield select_device(0)
    select_device(-1)


@pytest.fixture(scope='session', autouse=True)
def hidden_java(tmp_path_factory):
    """Hides Java, which takes seconds to start, from all tests that do not take ``java``."""
    path = tmp_path_factory.mktemp('path') / 'java'
    path.write_text('#!/bin/sh\nexit 1\n')
    path.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PATH', str(path.parent), prepend=os.pathsep)
        yield


@pytest.fixture
def java(monkeypatch):
    """Lets a test and its scripts use Java."""
    monkeypatch.setenv('PATH', PATH)
    if not has_java():
        pytest.skip('java is not installed')


@pytest.fixture
def no_pycocoevalcap(monkeypatch):
    """Lets scripts run as if pycocoevalcap were not installed."""
    code = "import sys; sys.modules['pycocoevalcap'] = None"
    monkeypatch.setattr('tests.helpers.scripts.PRELUDE', code)


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
