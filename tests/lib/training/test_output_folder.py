import os

from lib.training.output_folder import (
    BEST,
    LOG,
    SNAPSHOT,
    epoch_file,
    lock_folder,
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
        'from lib.training.output_folder import lock_folder\n'
        'with lock_folder(sys.argv[1]):\n'
        '    print("locked", flush=True)\n'
        '    os._exit(0)\n'  # as if killed: the file stays
    )
    folder = tmp_path / 'new' / 'result'
    with lock_folder(folder):
        assert 'another process is writing to this folder' in run_python(code, folder).stderr
    assert os.listdir(tmp_path) == []
    for _ in range(2):
        assert run_python(code, folder).stdout == 'locked\n'
    assert os.listdir(folder) == ['.lock']


def test_a_locked_folder_with_files_stays(tmp_path):
    with lock_folder(tmp_path / 'result'):
        (tmp_path / 'result' / 'log').touch()
    assert os.listdir(tmp_path / 'result') == ['log']
