"""What train.py reads and refuses: recipes, flags, files and snapshots."""

import shutil

import numpy
import pytest

from lib.trained_model import TrainedModel
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import dataset, features_of, write_json, write_matlab
from tests.helpers.scripts import run_python, run_script
from tests.helpers.training import SMALL, assert_same_training, train


def test_recipe_trains_like_the_flags_it_contains(data, tmp_path):
    recipe = tmp_path / 'small.args'
    recipe.write_text(
        "# Sizes and optimizer of the paper's model, made small.\n"
        '--hidden 16\n'
        '--embed 12  # "#" also starts a comment after a flag\n'
        '\n'
        '--batch-size 8\n'
        '--lr 0.01 --dropout 0.1 --lr-schedule step\n'
        '--standardize\n'
    )
    process = train(data, tmp_path / 'recipe', f'@{recipe} --epoch 2', small='')
    assert process.returncode == 0, process.stderr
    train(data, tmp_path / 'typed', '--dropout 0.1 --standardize --epoch 2')
    names = ['epoch_001.h5', 'epoch_002.h5', 'best.h5', 'snapshot.h5']
    assert_same_training(tmp_path / 'recipe', tmp_path / 'typed', names)


def test_flags_after_a_recipe_override_it(data, tmp_path):
    (tmp_path / 'wide.args').write_text('--hidden 99\n')
    process = train(data, tmp_path / 'result', f'@{tmp_path}/wide.args', SMALL, '--epoch 1')
    assert process.returncode == 0, process.stderr
    model = TrainedModel.load(tmp_path / 'result' / 'best.h5')
    assert model.network.hyperparameters['hidden_size'] == 16


def test_unusable_recipes_are_rejected(data, tmp_path):
    process = train(data, tmp_path / 'result', f'@{tmp_path}/none.args')
    assert_input_error(process, 'No such file', tmp_path / 'none.args')
    for line, message in (
        ('--hiden 3', '--hiden'),
        ("--output it's", 'quotation'),
        (f'@{tmp_path}/wrong.args', 'unrecognized arguments'),
    ):
        (tmp_path / 'wrong.args').write_text(f'{line}\n')
        assert_input_error(train(data, tmp_path / 'result', f'@{tmp_path}/wrong.args'), message)
    assert not (tmp_path / 'result').exists()


@pytest.mark.parametrize(
    'flags',
    [
        '--epoch 0',
        '--dropout 1',
        '--lr fast',
        '--hiden 3',
        '--batch-size -1',
        '--lr nan',
        '--gradient-clip inf',
        f'--seed {2**32}',
        '--optimizer adamw',
        '--label-smoothing 1',
        '--warmup-iterations -1',
        '--weight-decay -1',
        '--lr-schedule none',
        '--lr-schedule cosine --lr-decay 0.5',
        '--lr-schedule cosine --lr-decay-every 2',
        '--reward BLEU',
        '--reward-weight 1.1',
        '--reward-samples 1',
        '--reward-samples 3',
    ],
)
def test_invalid_values_of_flags_are_rejected(data, tmp_path, flags):
    assert_input_error(train(data, tmp_path / 'result', flags), flags.split()[0])
    assert not (tmp_path / 'result').exists()


def test_unusable_inputs_and_outputs_are_rejected(data, trained, tmp_path):
    def run(*flags):
        return train(data, tmp_path / 'result', *flags)

    model = trained[0] / 'best.h5'
    assert_input_error(run('-g 99'), '--gpu 99')
    assert_input_error(run('--tf32'), '--tf32')
    assert_input_error(run('--resume'), '--resume', 'snapshot.h5')
    assert_input_error(run('-s', tmp_path / 'none.h5'), 'none.h5', 'preprocess_vocab.py')
    assert_input_error(run('-i', tmp_path / 'none.mat'), 'none.mat')
    assert_input_error(run('-m', data / 'captions.h5'), 'captions.h5', 'not a model file')
    assert_input_error(run('-m', model, '--hidden 99'), '--hidden 99')
    assert_input_error(train(data, trained[0]), '--output', '--resume')
    assert not (tmp_path / 'result').exists()
    (tmp_path / 'file').touch()
    process = train(data, tmp_path / 'file' / 'result')
    assert_input_error(process, tmp_path / 'file')
    assert process.stdout == ''


def test_resuming_with_other_settings_is_rejected(data, trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / 'result')

    def resume(flags=''):
        same = '--standardize --dropout 0.1 --resume'
        return train(data, tmp_path / 'result', same, flags)

    assert_input_error(resume('--hidden 17'), '--hidden 17', '16')
    assert_input_error(resume('--lr 0.02'), '--lr 0.02', '0.01')
    assert_input_error(resume('--optimizer sgd'), '--optimizer sgd', 'adam')
    assert_input_error(resume('--network plain'), '--network plain', 'show_and_tell')
    assert_input_error(resume('--select-by CIDEr'), '--select-by CIDEr', 'loss')
    snapshot = tmp_path / 'result' / 'snapshot.h5'
    snapshot.write_bytes(snapshot.read_bytes()[:3000])
    advice = 'to start from its best model, give best.h5 with --model and another --output'
    assert_input_error(resume(), 'snapshot.h5', 'damaged', advice)
    assert_input_error(train(data, tmp_path / 'result'), 'already contains', advice)


def test_a_run_without_its_snapshot_is_kept(data, trained, tmp_path):
    for name in 'best.h5', 'epoch_012.h5':
        (tmp_path / name).mkdir()
        shutil.copy(trained[0] / name, tmp_path / name / name)
        assert_input_error(train(data, tmp_path / name), name, 'already contains a training run')
        assert_input_error(train(data, tmp_path / name, '--resume'), 'there is no', '--model')


def test_a_data_set_without_validation_images_says_how_to_choose_some(data, tmp_path):
    write_json(tmp_path / 'dataset.json', dataset(splits=('train',)))
    run_script('preprocess_vocab.py', tmp_path / 'dataset.json', '-o', tmp_path / 'captions.h5')
    process = train(data, tmp_path / 'result', '-s', tmp_path / 'captions.h5')
    assert_input_error(process, 'no captions in the split "val"', '--val-size N')


def test_recipes_are_found_from_any_folder(data, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(data))
    (tmp_path / 'own.args').write_text('-s ~/captions.h5 --features=~/feats.mat\n')
    inputs = '@recipes/flickr8k.args', '@own.args', *SMALL.split(), '--epoch', 1, '-o', 'result'
    process = run_script('train.py', *inputs, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / 'result' / 'best.h5').exists()


def test_captions_and_features_that_do_not_fit_are_rejected(data, trained, tmp_path):
    def run(*flags, small=SMALL):
        return train(data, tmp_path / 'result', *flags, small=small)

    model = trained[0] / 'best.h5'
    features = features_of(dataset())
    few = write_matlab(tmp_path / 'few.mat', features[:20])
    assert_input_error(run('-i', few), 'few.mat: no features of 10 of the 30 images needed: 20.jpg')
    features[4, 2] = numpy.nan
    nan = write_matlab(tmp_path / 'nan.mat', features)
    assert_input_error(run('-i', nan), 'nan.mat', 'the features of 4.jpg (imgid 4)')
    wide = write_matlab(tmp_path / 'wide.mat', features_of(dataset(), size=9))
    assert_input_error(run('-i', wide, '-m', model, small=''), 'wide.mat', 'size 9', 'size 8')
    without_val, captions = tmp_path / 'dataset.json', tmp_path / 'captions.h5'
    write_json(without_val, dataset(splits=('train',)))
    run_script('preprocess_vocab.py', without_val, '-o', captions)
    assert_input_error(run('-s', captions), '"val"')
    assert_input_error(run('-s', captions, '-m', model, small=''), '"val"')


def test_divergence_is_one_error_line(data, tmp_path):
    process = train(data, tmp_path / 'result', '--lr 1e6 --epoch 3')
    assert_input_error(process, 'the training diverged', 'lower learning rate')


# Trains in a process that may write so many bytes to a file, as if the disk were full.
TRAIN_WITH_LIMIT = """
import resource, runpy, sys
import lib
n_bytes = int(sys.argv.pop(1))
sys.argv[0] = 'train.py'
resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
runpy.run_path('train.py', run_name='__main__')
"""


@pytest.mark.parametrize(
    'n_bytes, name', [(1000, 'log'), (20_000, 'epoch_001.h5'), (150_000, 'snapshot.h5')]
)
def test_a_full_disk_is_one_error_line(data, tmp_path, n_bytes, name):
    output = tmp_path / 'result'
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', output
    flags = ['--hidden', '48', '--embed', '12', '--epoch', '2']
    process = run_python(TRAIN_WITH_LIMIT, n_bytes, *inputs, *flags)
    assert_input_error(process, output, name, 'File too large')
    assert not list(output.glob('*.tmp'))


def test_selection_by_scores_needs_pycocoevalcap_before_training(data, no_pycocoevalcap, tmp_path):
    process = train(data, tmp_path / 'result', '--select-by CIDEr')
    assert_input_error(process, '--select-by CIDEr: needs pycocoevalcap; pip install pycocoevalcap')
    assert process.stdout == ''
    assert not (tmp_path / 'result').exists()
