import os

import pytest

from lib.training.output_folder import BEST, LOG, SNAPSHOT, epoch_file, has_models, locked
from tests.helpers.scripts import run_python


@pytest.mark.parametrize('name', [BEST, SNAPSHOT, epoch_file(7), epoch_file(1234)])
def test_a_training_run_is_known_by_its_models(tmp_path, name):
    for other in LOG, 'captions.h5', 'epoch.h5', 'best.h5.old':
        (tmp_path / other).touch()
    assert not has_models(tmp_path)
    (tmp_path / name).touch()
    assert has_models(tmp_path)
    assert not has_models(tmp_path / 'none')


def test_a_locked_folder_is_refused_to_others_until_its_process_ends(tmp_path):
    code = (
        'import os, sys\n'
        'from lib.training.output_folder import locked\n'
        'with locked(sys.argv[1]):\n'
        '    print("locked", flush=True)\n'
        '    os._exit(0)\n'  # as if killed
    )
    folder = tmp_path / 'new' / 'result'
    with locked(folder):
        assert 'another process is writing to it' in run_python(code, folder).stderr
    for _ in range(2):
        assert run_python(code, folder).stdout == 'locked\n'
    assert os.listdir(folder) == ['.lock']
