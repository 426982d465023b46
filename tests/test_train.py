import numpy
import pytest
from PIL import Image

from lib.captions.dataset import CaptionDataset
from lib.captions.vocabulary import BOS, EOS
from lib.decoding.beam_search import beam_search
from lib.evaluation.metrics import CaptionScorer
from lib.features.feature_source import FeatureSource
from lib.features.writer import save_features
from lib.trained_model import TrainedModel
from lib.training.optimizers import OPTIMIZERS
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import dataset, features_of
from tests.helpers.training import (
    arrays_of,
    assert_same_training,
    read_log,
    train,
    validation_losses,
)


def test_loss_falls_and_is_logged(trained):
    folder, process = trained
    assert process.stderr == ''
    log = read_log(folder)
    assert [entry['epoch'] for entry in log] == list(range(1, 13))
    assert log[-1]['main/loss'] < log[0]['main/loss'] / 2
    for entry in log:
        for prefix in 'main/', 'validation/main/':
            assert entry[f'{prefix}perplexity'] == pytest.approx(numpy.exp(entry[f'{prefix}loss']))
            assert 0 <= entry[f'{prefix}accuracy'] <= 1
        assert entry['elapsed_time'] > 0


def test_prints_a_table_and_captions(trained):
    start, *lines = trained[1].stdout.splitlines()
    assert start == 'training on 90 captions of 18 images, validating on 30 captions of 6 images'
    assert ' '.join(lines[0].split()) == (
        'epoch iteration loss val loss perplexity val perplexity accuracy val accuracy elapsed'
    )
    rows = [line for line in lines[1:] if line.split()[0].isdigit()]
    assert len(rows) == 12
    assert all(len(row) == len(lines[0]) for row in rows)
    assert sum(line.startswith('        3.jpg: ') for line in lines) == 12
    assert 'best validation loss' in lines[-1]
    assert '\x1b' not in trained[1].stdout


def test_writes_models_plots_log_and_snapshot_and_nothing_else(trained):
    names = {path.name for path in trained[0].iterdir()}
    models = {f'epoch_{epoch:03}.h5' for epoch in range(1, 13)}
    others = {'log', 'loss.png', 'accuracy.png', 'best.h5', 'snapshot.h5', '.lock'}
    assert names == models | others
    for name in 'loss.png', 'accuracy.png':
        with Image.open(trained[0] / name) as plot:
            assert plot.format == 'PNG'
            assert plot.width > 500


def test_best_model_has_the_lowest_validation_loss(trained):
    losses = validation_losses(trained[0])
    best = losses.index(min(losses)) + 1
    epoch_arrays = arrays_of(trained[0] / f'epoch_{best:03}.h5')
    for name, array in arrays_of(trained[0] / 'best.h5').items():
        numpy.testing.assert_array_equal(array, epoch_arrays[name])


def test_best_model_can_be_selected_by_cider(device, data, tmp_path):
    folder = tmp_path / 'result'
    process = train(data, folder, '--epoch 30 --select-by CIDEr --patience 3', device=device)
    assert process.returncode == 0, process.stderr
    log = read_log(folder)
    cider = [entry['validation/main/CIDEr'] for entry in log]
    best = cider.index(max(cider)) + 1
    assert len(log) == min(30, best + 3)
    assert process.stdout.endswith(
        f'best validation CIDEr {max(cider):.4f} after epoch {best}: {folder / "best.h5"}\n'
    )
    assert f'  {max(cider):.3f}  ' in process.stdout
    epoch_arrays = arrays_of(folder / f'epoch_{best:03}.h5')
    for name, array in arrays_of(folder / 'best.h5').items():
        numpy.testing.assert_array_equal(array, epoch_arrays[name])

    captions = CaptionDataset.load(data / 'captions.h5')
    images, features = captions.images_of('val'), features_of(dataset())
    model = TrainedModel.load(folder / 'best.h5')
    decoded = beam_search(model.network, features[captions.imgid[images]], 3, top=1)
    texts = [captions.vocabulary.decode(caption.tokens) for (caption,) in decoded]
    scores = CaptionScorer(captions.references_of(images), with_java=False)(texts).values
    logged = {name: log[best - 1][f'validation/main/{name}'] for name in scores}
    assert logged == pytest.approx(scores)
    with Image.open(folder / 'cider.png') as plot:
        assert plot.width > 500


def test_validation_loss_is_the_mean_over_tokens(trained, data):
    model = TrainedModel.load(trained[0] / 'epoch_012.h5').network
    captions = CaptionDataset.load(data / 'captions.h5')
    features = features_of(dataset())
    total, n_tokens = 0, 0
    for caption in captions.captions_of('val'):
        tokens = captions.tokens_of(caption).tolist()
        state = model.start(features[[captions.imgid[captions.image[caption]]]])
        for token, target in zip([BOS, *tokens], [*tokens, EOS]):
            log_probs, state = model.step(numpy.array([token]), state)
            total -= log_probs[0, target]
            n_tokens += 1
    assert validation_losses(trained[0])[-1] == pytest.approx(total / n_tokens, abs=1e-5)


def test_model_contains_vocabulary_sizes_and_standardization(trained, data):
    model = TrainedModel.load(trained[0] / 'best.h5')
    assert model.vocabulary == CaptionDataset.load(data / 'captions.h5').vocabulary
    assert model.network.hyperparameters == {
        'feature_size': 8,
        'vocabulary_size': 16,
        'embed_size': 12,
        'hidden_size': 16,
        'dropout': 0.1,
        'n_layers': 1,
    }
    features = features_of(dataset())[[imgid for imgid in range(30) if imgid % 5 < 3]]
    standardized = (features - model.network.feature_mean) * model.network.feature_scale
    numpy.testing.assert_allclose(standardized.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize(
    'flags',
    [
        '--lr-decay 0.7 --lr-decay-every 2 --gradient-clip 1 --reward CIDEr',
        '--optimizer momentum --warmup-iterations 30 --weight-decay 1e-4 --label-smoothing 0.1',
        '--optimizer rmsprop --loss-reduction sentence --layers 2 --select-by CIDEr',
    ],
)
def test_resuming_is_exact(device, data, tmp_path, flags):
    for name, epoch in ('uninterrupted', 6), ('resumed', 3):
        process = train(data, tmp_path / name, f'--epoch {epoch}', flags, device=device)
        assert process.returncode == 0, process.stderr
    process = train(data, tmp_path / 'resumed', '--epoch 6 --resume', flags, device=device)
    assert process.returncode == 0, process.stderr
    assert_same_training(
        tmp_path / 'resumed', tmp_path / 'uninterrupted', ['epoch_006.h5', 'best.h5', 'snapshot.h5']
    )


def test_seed_determines_the_training(data, tmp_path):
    for name, seed in ('a', 1), ('b', 1), ('c', 2):
        train(data, tmp_path / name, f'--epoch 1 --seed {seed}')
    a, b, c = (arrays_of(tmp_path / name / 'epoch_001.h5')['network/output/W'] for name in 'abc')
    numpy.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_patience_stops_the_training(data, tmp_path):
    flags = '--epoch 100 --patience 2 --lr 0.05'
    process = train(data, tmp_path / 'result', flags)
    assert process.returncode == 0
    losses = validation_losses(tmp_path / 'result')
    assert len(losses) < 100
    assert losses.index(min(losses)) == len(losses) - 3
    assert train(data, tmp_path / 'result', flags, '--resume').returncode == 0
    assert len(read_log(tmp_path / 'result')) == len(losses)


def test_learning_rate_decays(data, tmp_path):
    train(data, tmp_path / 'a', '--epoch 2 --lr-decay 1e-9')
    train(data, tmp_path / 'b', '--epoch 1')
    after_two = arrays_of(tmp_path / 'a' / 'epoch_002.h5')
    after_one = arrays_of(tmp_path / 'b' / 'epoch_001.h5')
    for name, array in after_one.items():
        if name.startswith('network'):
            numpy.testing.assert_allclose(after_two[name], array, atol=1e-6)


@pytest.mark.parametrize(
    'flags',
    [
        *(f'--optimizer {name}' for name in OPTIMIZERS),
        '--loss-reduction sentence',
        '--optimizer sgd --loss-reduction sentence --lr 0.1',
    ],
)
def test_every_optimizer_learns(device, data, tmp_path, flags):
    # Without --lr, to use the default of the optimizer.
    small = '--hidden 16 --embed 12 --batch-size 8 --lr-schedule step'
    process = train(
        data, tmp_path / 'result', '--epoch 15 --dropout 0', flags, small=small, device=device
    )
    assert process.returncode == 0, process.stderr
    losses = validation_losses(tmp_path / 'result')
    assert losses[-1] < 0.9 * losses[0]
    assert losses[-1] < 2.2  # A uniform distribution over the vocabulary has 2.77.


@pytest.mark.parametrize(
    'flags, is_resumable',
    [
        ('--scheduled-sampling 0.3', False),
        ('--lr-schedule cosine --warmup-iterations 5', False),
        ('--layers 2', True),
    ],
)
def test_variants_learn_and_resume_with_another_last_epoch_if_possible(
    device, data, tmp_path, flags, is_resumable
):
    process = train(data, tmp_path / 'result', '--epoch 12', flags, device=device)
    assert process.returncode == 0, process.stderr
    losses = validation_losses(tmp_path / 'result')
    assert losses[-1] < 0.8 * losses[0]
    resumed = train(data, tmp_path / 'result', '--epoch 13 --resume', flags, device=device)
    if is_resumable:
        assert resumed.returncode == 0, resumed.stderr
    else:
        assert_input_error(resumed, '--epoch 13', '12', 'give best.h5 with --model')


def test_starts_from_a_trained_model(data, trained, tmp_path):
    model = trained[0] / 'best.h5'
    process = train(data, tmp_path / 'result', '-m', model, '--epoch 1 --lr 1e-9', small='')
    assert process.returncode == 0, process.stderr
    arrays = arrays_of(tmp_path / 'result' / 'epoch_001.h5')
    for name, array in arrays_of(model).items():
        if name.startswith('network'):
            numpy.testing.assert_allclose(arrays[name], array, atol=1e-5, err_msg=name)


@pytest.mark.parametrize('flags', ['--batch-size 1000', '--batch-size 1 --reward CIDEr'])
def test_batches_of_all_captions_and_of_one(data, tmp_path, flags):
    process = train(data, tmp_path / 'result', '--epoch 2', flags)
    assert process.returncode == 0, process.stderr


def test_rewards_of_a_network_that_has_learned_nothing_are_noted(data, tmp_path):
    flags = '--epoch 1', '--reward CIDEr'
    process = train(data, tmp_path / 'result', *flags)
    assert process.stderr.startswith('note: --reward without --model starts from random weights')
    process = train(data, tmp_path / 'result', *flags, '--resume')
    assert process.returncode == 0
    assert '--model' not in process.stderr


def test_reward_rises(device, data, trained, tmp_path):
    flags = '--reward CIDEr --reward-weight 1 --epoch 8 --batch-size 24 --lr 0.02 --dropout 0'
    flags = flags, '--lr-schedule step -m', trained[0] / 'best.h5'
    process = train(data, tmp_path / 'result', *flags, small='', device=device)
    assert process.returncode == 0, process.stderr
    assert '--model' not in process.stderr
    rewards = [entry['main/reward'] for entry in read_log(tmp_path / 'result')]
    assert sum(rewards[-3:]) > 1.25 * sum(rewards[:3])
    _, header, *lines = process.stdout.splitlines()
    assert ' reward ' in header
    assert f' {rewards[-1]:.3f} ' in next(line for line in lines if line.split()[0] == '8')


def test_model_records_how_features_were_extracted(data, tmp_path):
    source = FeatureSource('net.caffemodel', 'pool10', 227, [1.0, 2.0, 3.0], 'crop')
    save_features(tmp_path / 'feats.mat', features_of(dataset()), source)
    train(data, tmp_path / 'result', '--epoch 1 -i', tmp_path / 'feats.mat')
    assert TrainedModel.load(tmp_path / 'result' / 'best.h5').feature_source == source
