import os
import shutil

import pytest

from lib.errors import InputError
from lib.training.output_folder import (
    BEST,
    LOG,
    SNAPSHOT,
    OutputFolder,
    epoch_file,
    find_best,
    plot_file,
    results_in,
)
from tests.helpers.scripts import run_python


def test_results_are_the_files_that_training_writes(tmp_path):
    names = {BEST, LOG, SNAPSHOT, epoch_file(7), epoch_file(1234), plot_file('CIDEr')}
    for name in *names, 'captions.h5', 'epoch.h5', 'best.h5.old', 'catalog':
        (tmp_path / name).touch()
    assert {os.path.basename(path) for path in results_in(tmp_path)} == names


def test_a_locked_folder_is_refused_to_others_until_its_process_ends(tmp_path):
    code = (
        'import os, sys\n'
        'from lib.training.output_folder import OutputFolder\n'
        'with OutputFolder(sys.argv[1]):\n'
        '    print("locked", flush=True)\n'
        '    os._exit(0)\n'  # as if killed: the file stays
    )
    folder = tmp_path / 'new' / 'result'
    with OutputFolder(str(folder)):
        assert 'another process is writing to this folder' in run_python(code, folder).stderr
    assert os.listdir(tmp_path) == []
    for _ in range(2):
        assert run_python(code, folder).stdout == 'locked\n'
    assert os.listdir(folder) == ['.lock']


def test_a_locked_folder_with_files_stays(tmp_path):
    with OutputFolder(str(tmp_path / 'result')):
        (tmp_path / 'result' / 'log').touch()
    assert os.listdir(tmp_path / 'result') == ['log']


def test_files_are_not_written_into_a_folder_that_was_replaced(tmp_path):
    path = str(tmp_path / 'result')
    with OutputFolder(path) as folder:
        assert folder.file(LOG) == os.path.join(path, LOG)
        shutil.rmtree(path)
        with pytest.raises(InputError, match='result: has been deleted or replaced'):
            folder.file(LOG)
        with OutputFolder(path) as other:
            with pytest.raises(InputError, match='result: has been deleted or replaced'):
                folder.file(LOG)
            assert other.file(LOG) == os.path.join(path, LOG)
            folder.__exit__()
            assert os.listdir(path) == ['.lock']  # that of the other


def test_the_best_model_may_be_that_of_its_epoch(tmp_path):
    for name in epoch_file(3), BEST:
        (tmp_path / name).write_text('model')
    assert find_best(tmp_path, 3) == str(tmp_path / BEST)
    (tmp_path / BEST).write_text('')
    assert find_best(tmp_path, 3) == str(tmp_path / epoch_file(3))
    assert find_best(tmp_path, 2) is None
