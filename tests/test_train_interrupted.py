"""Training that is stopped, by signals or by a loss that is NaN or infinite."""

import os
import signal

import numpy
import pytest

from lib.trained_model import TrainedModel
from lib.training.output_folder import locked
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import dataset, features_of, write_json, write_matlab
from tests.helpers.scripts import run_python, run_script
from tests.helpers.training import SMALL, arrays_of, assert_same_training, read_log, train

# Runs train.py, which sends itself a signal in an iteration.
TRAIN_AND_STOP = """
import os, sys
import lib
import train
iteration, numbers = int(sys.argv.pop(1)), eval(sys.argv.pop(1))
update = train.training.updaters.StandardUpdater.update
def update_and_stop(self):
    update(self)
    if self.iteration == iteration:
        for number in numbers:
            os.kill(os.getpid(), number)
train.training.updaters.StandardUpdater.update = update_and_stop
train.run_main(train.main)
"""


def stop(data, output, iteration, numbers, *flags):
    """Trains until some signals in an iteration; returns the finished process."""
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', output, *SMALL.split()
    return run_python(TRAIN_AND_STOP, iteration, [int(n) for n in numbers], *inputs, *flags)


@pytest.mark.parametrize(
    'number, iteration, flags',
    [
        (signal.SIGINT, 17, '--lr-decay 0.7 --gradient-clip 1'),
        (signal.SIGTERM, 31, '--optimizer momentum --scheduled-sampling 0.3 --reward CIDEr'),
        (signal.SIGHUP, 24, '--layers 2 --lr-schedule cosine'),
    ],
)
def test_a_signal_saves_what_resumes_bit_for_bit(data, trained, tmp_path, number, iteration, flags):
    flags = ['--epoch', '4', *flags.split()]
    if '--reward' in flags:
        flags += '-m', str(trained[0] / 'best.h5')
    process = stop(data, tmp_path / 'stopped', iteration, [number], *flags)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    first, last = process.stderr.splitlines()
    assert first.startswith('stopping after this iteration')
    assert f'after iteration {iteration},' in last
    assert '--resume' in last
    for name, more in ('stopped', ['--resume']), ('uninterrupted', []):
        process = train(data, tmp_path / name, ' '.join(flags + more))
        assert process.returncode == 0, process.stderr
    names = ['epoch_004.h5', 'best.h5', 'snapshot.h5']
    assert_same_training(tmp_path / 'stopped', tmp_path / 'uninterrupted', names)
    files = {path.name for path in (tmp_path / 'stopped').iterdir()}
    assert files == {path.name for path in (tmp_path / 'uninterrupted').iterdir()}


def test_a_stop_is_saved_though_nobody_reads_the_output(data, tmp_path):
    """As after Ctrl-C in ``train.py | tee log``, which ends tee, too."""
    losing_reader = (
        'import os\n'
        'reader, writer = os.pipe()\n'
        'os.dup2(writer, 1)\n'
        'kill = os.kill\n'
        'os.kill = lambda *signal: (os.close(reader), kill(*signal))\n'
    )
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', tmp_path / 'result'
    flags = *SMALL.split(), '--epoch', 4
    # In the last iteration of the first epoch, whose row is printed next; no snapshot is older.
    run_python(losing_reader + TRAIN_AND_STOP, 12, [int(signal.SIGINT)], *inputs, *flags)
    assert (tmp_path / 'result' / 'snapshot.h5').exists()


def test_a_second_signal_stops_at_once(data, tmp_path):
    process = stop(data, tmp_path / 'result', 3, [signal.SIGINT, signal.SIGINT])
    assert process.returncode == 130
    assert 'Traceback' not in process.stderr
    assert os.listdir(tmp_path / 'result') == ['.lock']


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGTERM])
def test_hangups_and_terminations_may_be_sent_twice(data, tmp_path, number):
    process = stop(data, tmp_path / 'result', 3, [number, number])
    assert process.returncode == 143
    assert 'saved' in process.stderr
    assert (tmp_path / 'result' / 'snapshot.h5').exists()


def test_a_signal_in_the_last_iteration_changes_nothing(data, tmp_path):
    process = stop(data, tmp_path / 'result', 12, [signal.SIGTERM], '--epoch', '1')
    assert process.returncode == 0
    assert 'best validation loss' in process.stdout


def test_ignored_hangups_do_not_stop_training(data, tmp_path):
    code = f'import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n{TRAIN_AND_STOP}'
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', tmp_path, *SMALL.split()
    process = run_python(code, 3, [int(signal.SIGHUP)], *inputs, '--epoch', 1)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ''


def test_snapshots_in_the_middle_of_an_epoch_resume_exactly_after_a_kill(device, data, tmp_path):
    flags = '--epoch 3 --snapshot-every 5' + (' -g 0' if device.xp is not numpy else '')
    process = stop(data, tmp_path / 'killed', 18, [signal.SIGKILL], *flags.split())
    assert process.returncode == -signal.SIGKILL
    for name, more in ('killed', '--resume'), ('uninterrupted', ''):
        assert train(data, tmp_path / name, flags, more).returncode == 0
    assert_same_training(
        tmp_path / 'killed', tmp_path / 'uninterrupted', ['epoch_003.h5', 'snapshot.h5']
    )
    assert not list((tmp_path / 'killed').glob('*.tmp'))


def test_a_second_training_in_the_same_folder_is_refused(data, tmp_path):
    with locked(tmp_path / 'result'):
        assert_input_error(train(data, tmp_path / 'result'), 'another process is writing')


def test_a_loss_that_is_not_finite_ends_training(device, data, tmp_path):
    features = features_of(dataset())
    features[7] = 3e38
    huge = write_matlab(tmp_path / 'huge.mat', features)
    flags = '--epoch 2 --lr 1 --no-standardize --batch-size 3'
    process = train(data, tmp_path / 'result', '-i', huge, flags, device=device)
    assert_input_error(process, 'the loss is', 'in iteration', 'lower learning rate')
    assert os.listdir(tmp_path / 'result') == ['.lock']


def test_divergence_keeps_the_last_good_snapshot(data, tmp_path):
    flags = '--epoch 3 --lr 1e6 --snapshot-every 1'
    process = train(data, tmp_path / 'result', flags)
    assert_input_error(process, 'the training diverged')
    arrays = arrays_of(tmp_path / 'result' / 'snapshot.h5')
    assert arrays['trainer/updater/iteration'] > 1
    for name, array in arrays.items():
        assert array.dtype.kind != 'f' or numpy.isfinite(array).all(), name
    again = train(data, tmp_path / 'result', flags, '--resume')
    assert again.stderr == process.stderr


# Runs train.py and names every folder that is made.
TRAIN_AND_NAME_FOLDERS = """
import sys
import lib
import train
sys.addaudithook(lambda event, args: event == 'os.mkdir' and print(args[0], file=sys.stderr))
train.run_main(train.main)
"""


def test_nothing_is_left_behind_wherever_training_is_killed(data, tmp_path):
    """Chainer's own log would be written to a temporary folder, which a kill leaves."""
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', tmp_path / 'result'
    process = run_python(TRAIN_AND_NAME_FOLDERS, *inputs, *SMALL.split(), '--epoch', 2)
    assert process.returncode == 0
    assert set(process.stderr.splitlines()) == {str(tmp_path / 'result')}


def test_log_and_model_record_how_they_were_made(data, trained):
    first, *others = read_log(trained[0])
    assert not any('run' in entry for entry in others)
    run = first['run']
    assert run == TrainedModel.load(trained[0] / 'best.h5').run
    assert run['command'][0].endswith('train.py')
    assert '--standardize' in run['command']
    assert run['flags']['seed'] == 0
    assert run['versions']['numpy'] == numpy.__version__
    assert len(run['data']['captions']) == len(run['data']['features']) == 64


def test_resuming_with_other_data_says_which_differ(data, trained, tmp_path):
    features = features_of(dataset())
    features[0] += 1
    other_features = write_matlab(tmp_path / 'other.mat', features)
    content = dataset()
    content['images'][0]['sentences'][0]['raw'] = 'Something else.'
    write_json(tmp_path / 'dataset.json', content)
    captions = tmp_path / 'captions.h5'
    run_script('preprocess_vocab.py', tmp_path / 'dataset.json', '-o', captions, '--min-count', 1)

    same = '--standardize --dropout 0.1 --resume --epoch 13'
    process = train(data, trained[0], same, '-i', other_features)
    assert_input_error(process, 'written with other data (features)')
    process = train(data, trained[0], same, '-s', captions, '-i', other_features)
    assert_input_error(process, 'written with other data (captions, features)')


def test_resuming_with_another_model_to_start_from_is_refused(data, trained, tmp_path):
    start, other = trained[0] / 'best.h5', trained[0] / 'epoch_001.h5'
    small, output = '--lr-schedule step', tmp_path / 'result'
    assert train(data, output, '--epoch 1', '-m', start, small=small).returncode == 0
    for model in ['-m', other], []:
        flags = '--epoch 2 --resume', *model
        process = train(data, output, *flags, small=f'{small} --hidden 16 --embed 12')
        assert_input_error(process, 'snapshot.h5: was written with other data (model)')
    flags = '--epoch 2 --resume', '-m', start
    assert train(data, output, *flags, small=small).returncode == 0


def test_networks_that_cannot_fit_are_refused_with_what_they_need(data, tmp_path):
    process = train(data, tmp_path / 'result', small='--hidden 1000000')
    assert_input_error(process, 'training 4,0', 'GiB of memory, but only')
