"""Several processes compute what one does, and end together."""

import os
import shutil
import signal
import time

import numpy
import pytest

from tests.helpers.mpi import run_processes, start_processes, why_no_mpi
from tests.helpers.scripts import run_python
from tests.helpers.training import arrays_of, assert_same_training, read_log, train

pytestmark = pytest.mark.skipif(why_no_mpi() is not None, reason=why_no_mpi() or '')
ALL_OPTIONS = (
    '--gradient-clip 0.5 --label-smoothing 0.1 --warmup-iterations 5 --weight-decay 1e-4 '
    '--select-by CIDEr --patience 5 --standardize --lr-schedule cosine'
)
SIZES = '--hidden 16 --embed 12'
NETWORK = f'{SIZES} --communicator naive'


def train_together(n, data, output, *flags):
    """Runs train.py in n processes."""
    inputs = ['-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', output, *NETWORK.split()]
    flags = [part for flag in flags for part in flag.split()]
    return run_processes(n, 'train.py', *inputs, *flags)


def assert_nearly_the_same_training(folder, expected_folder, model):
    arrays, expected = arrays_of(folder / model), arrays_of(expected_folder / model)
    for name in expected:
        if name.startswith('network'):
            numpy.testing.assert_allclose(arrays[name], expected[name], atol=1e-5, err_msg=name)
    for entry, expected in zip(read_log(folder), read_log(expected_folder), strict=True):
        for name in expected.keys() - {'elapsed_time', 'run'}:
            assert entry[name] == pytest.approx(expected[name], abs=1e-5), name


# Not Adam alone, which updates as much whatever the scale of the gradients.
@pytest.mark.parametrize(
    'n, flags',
    [
        (2, f'--optimizer sgd {ALL_OPTIONS}'),
        (3, '--optimizer adam --loss-reduction sentence --layers 2'),
    ],
)
def test_processes_train_like_one_with_their_whole_batch(data, tmp_path, n, flags):
    flags += ' --dropout 0 --epoch 2'
    process = train(data, tmp_path / 'one', flags, '--batch-size 12', small=SIZES)
    assert process.returncode == 0, process.stderr
    together = train_together(n, data, tmp_path / 'together', flags, f'--batch-size {12 // n}')
    assert together.returncode == 0, together.stderr
    assert_nearly_the_same_training(tmp_path / 'together', tmp_path / 'one', 'epoch_002.h5')
    # Only one process prints and writes files.
    assert len(together.stdout.splitlines()) == len(process.stdout.splitlines())
    assert sorted(os.listdir(tmp_path / 'together')) == sorted(os.listdir(tmp_path / 'one'))


# Runs train.py, in which one of the processes does something in an iteration.
TRAIN_AND_FAIL = """
import os, signal, sys
sys.path.insert(0, os.getcwd())
import lib
import train
from lib.errors import InputError
rank, iteration, action = int(sys.argv.pop(1)), int(sys.argv.pop(1)), sys.argv.pop(1)
update = train.training.updaters.StandardUpdater.update
def update_and_fail(self):
    update(self)
    if self.iteration == iteration and os.environ['OMPI_COMM_WORLD_RANK'] == str(rank):
        exec(action)
train.training.updaters.StandardUpdater.update = update_and_fail
train.run_main(train.main)
"""
CHANCE = '--dropout 0.3 --scheduled-sampling 0.2 --reward CIDEr --epoch 3 --batch-size 4'


def train_and_fail(data, output, rank, iteration, action, flags=CHANCE):
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', output
    flags = f'{NETWORK} {flags}'.split()
    return run_processes(2, '-c', TRAIN_AND_FAIL, rank, iteration, action, *inputs, *flags)


def test_a_signal_to_one_process_saves_what_all_resume_bit_for_bit(data, tmp_path):
    for rank, iteration, number, code, resume in (
        (1, 17, signal.SIGINT, 130, ''),
        (0, 25, signal.SIGTERM, 143, '--resume'),
    ):
        kill = f'os.kill(os.getpid(), {int(number)})'
        flags = f'{CHANCE} {resume}'
        process = train_and_fail(data, tmp_path / 'stopped', rank, iteration, kill, flags)
        assert process.returncode == code, process.stderr
        assert process.stderr.count('saved') == 1
    for name, more in ('stopped', '--resume'), ('uninterrupted', ''):
        process = train_together(2, data, tmp_path / name, CHANCE, more)
        assert process.returncode == 0, process.stderr
    names = ['epoch_003.h5', 'best.h5', 'snapshot.h5']
    assert_same_training(tmp_path / 'stopped', tmp_path / 'uninterrupted', names)


@pytest.mark.parametrize(
    'rank, action, exit_code, message',
    [
        (0, 'raise InputError("x: is wrong")', 2, 'error: x: is wrong\n'),
        (1, 'raise MemoryError("all gone")', 2, 'error: not enough memory'),
        (1, 'raise RuntimeError("a bug")', 1, 'RuntimeError: a bug\n'),
        (0, 'os.kill(os.getpid(), signal.SIGKILL)', 137, 'signal 9'),
    ],
)
def test_a_process_that_fails_ends_all(data, tmp_path, rank, action, exit_code, message):
    process = train_and_fail(data, tmp_path / 'result', rank, 5, action)
    assert process.returncode == exit_code
    assert message in process.stderr


def test_training_resumes_with_another_number_of_processes(data, tmp_path):
    flags = '--dropout 0 --epoch 3'
    stop = 'os.kill(os.getpid(), signal.SIGTERM)'
    process = train_and_fail(data, tmp_path / 'two', 0, 17, stop, f'{flags} --batch-size 6')
    assert process.returncode == 143
    shutil.copytree(tmp_path / 'two', tmp_path / 'three')
    process = train_together(3, data, tmp_path / 'three', flags, '--batch-size 4 --resume')
    assert process.returncode == 0, process.stderr
    for name, more in ('two', '--resume'), ('one', ''):
        process = train(data, tmp_path / name, flags, '--batch-size 12', more, small=SIZES)
        assert process.returncode == 0, process.stderr
    for name in 'two', 'three':
        assert_nearly_the_same_training(tmp_path / name, tmp_path / 'one', 'epoch_003.h5')
    process = train_together(2, data, tmp_path / 'three', flags, '--batch-size 5 --resume')
    assert process.returncode == 2
    assert 'error: --batch-size 10 in all processes' in process.stderr


def test_a_signal_while_processes_exchange_signals_is_not_lost(data, tmp_path):
    """Process 0 waits for process 1 when it gets the signal."""
    code = TRAIN_AND_FAIL.replace(
        'train.run_main(train.main)',
        """
from lib.training.stopping import Interruption
agree = Interruption.agree_to_stop
iteration = 0
def agree_late(self):
    global iteration
    iteration += 1
    if iteration == 5 and self._processes.rank == 1:
        import time
        time.sleep(1)
    if iteration == 5 and self._processes.rank == 0:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        signal.signal(signal.SIGALRM, self._notice_alarm)
    return agree(self)
Interruption._notice_alarm = lambda self, number, frame: self._notice(signal.SIGTERM, frame)
Interruption.agree_to_stop = agree_late
train.run_main(train.main)
""",
    )
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', tmp_path / 'result'
    flags = *NETWORK.split(), '--epoch', 1000, '--batch-size', 4
    process = run_processes(2, '-c', code, -1, 0, '', *inputs, *flags)
    assert process.returncode == 143
    assert 'stopped after iteration 5,' in process.stderr or 'after iteration 6,' in process.stderr


def test_an_error_of_all_processes_is_printed_once(data, tmp_path):
    process = train_together(2, data, tmp_path / 'result', '-s none.h5')
    assert process.returncode == 2
    assert process.stderr.count('error: ') == 1
    assert not (tmp_path / 'result').exists()


# Prints what a process has in common with the others, by rank.
SHARE = """
import os, sys
sys.path.insert(0, os.getcwd())
import lib
from lib.processes import connect_processes
processes = connect_processes('naive')
numbers = list(range(7))
share = processes.share_of(numbers)
assert processes.merge_shares([10 * n for n in share]) == [10 * n for n in numbers]
assert sorted(sum(processes.all_gather(processes.share_of(numbers)), [])) == numbers
assert processes.compute_on_main(os.getpid) == processes.all_gather(os.getpid())[0]
"""


def test_processes_share_items():
    process = run_processes(3, '-c', SHARE)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ''


def test_one_process_does_not_import_mpi(data, tmp_path):
    code = (
        'import sys\nimport lib\nimport train\n'
        'assert train.make_trainer\n'
        'try:\n    train.run_main(train.main)\n'
        'finally:\n'
        '    print([name for name in sys.modules if name.startswith(("mpi4py", "chainermn"))])\n'
    )
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', tmp_path / 'result'
    process = run_python(code, *inputs, '--epoch', 1, *SIZES.split())
    assert process.stdout.splitlines()[-1] == '[]', process.stderr


def test_a_missing_communicator_is_named(data, tmp_path):
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', tmp_path / 'result'
    process = run_processes(2, 'train.py', *inputs)
    assert process.returncode == 2
    assert process.stderr.count('error: --communicator is missing') == 1
    assert not (tmp_path / 'result').exists()


def test_a_missing_mpi_is_named(data, tmp_path):
    code = (
        'import importlib.util\nimport lib\nfrom lib.processes import connect_processes\n'
        'importlib.util.find_spec = lambda name: None\nconnect_processes("naive")\n'
    )
    assert 'communicator naive: needs mpi4py; make setup MPI=1' in run_python(code).stderr


def test_mpiexec_passes_on_the_signal_that_ends_training(data, tmp_path):
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', tmp_path / 'result'
    flags = *NETWORK.split(), '--epoch', 100_000
    with start_processes(2, 'train.py', *inputs, *flags) as process:
        while not (tmp_path / 'result' / 'log').exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.send_signal(signal.SIGUSR1)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert stderr.count('saved') == 1
