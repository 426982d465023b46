import json
import shutil

from lib.beam_search import beam_search
from lib.caption_file import Captions
from lib.features import Features, FeatureSource, save_features
from lib.optimization import OPTIMIZERS
from lib.scores import CaptionScorer
from lib.trained_model import TrainedModel
from tests.samples import (
    assert_input_error,
    dataset,
    features_of,
    run_script,
    write_json,
    write_matlab,
)

import h5py
import numpy
import pytest
from PIL import Image

SMALL = ('--hidden', 16, '--embed', 12, '--batch-size', 8, '--lr', 0.01)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    content = dataset()
    write_json(folder / 'dataset.json', content)
    run_script('preprocess_vocab.py', folder / 'dataset.json', '-o', folder / 'captions.h5',
               '--min-count', 1)
    write_matlab(folder / 'feats.mat', features_of(content))
    return folder


def train(data, output, *flags, small=SMALL):
    return run_script('train.py', '-s', data / 'captions.h5', '-i', data / 'feats.mat',
                      '-o', output, *small, *flags)


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """A finished training of 12 epochs: its folder and its output."""
    folder = tmp_path_factory.mktemp('trained') / 'result'
    process = train(data, folder, '--epoch', 12, '--standardize', '--dropout', 0.1)
    assert process.returncode == 0, process.stderr
    return folder, process


def arrays_of(path):
    """Returns all data sets of an HDF5 file by name."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.__setitem__(name, item[()])
                        if isinstance(item, h5py.Dataset) and item.shape is not None else None)
    return arrays


def test_learns_and_logs(trained):
    folder, process = trained
    assert process.stderr == ''
    log = json.loads((folder / 'log').read_text())
    assert [entry['epoch'] for entry in log] == list(range(1, 13))
    assert log[-1]['main/loss'] < log[0]['main/loss'] / 2
    for entry in log:
        for prefix in 'main/', 'validation/main/':
            assert entry[f'{prefix}perplexity'] == pytest.approx(
                numpy.exp(entry[f'{prefix}loss']))
            assert 0 <= entry[f'{prefix}accuracy'] <= 1
        assert entry['elapsed_time'] > 0


def test_prints_a_table_and_captions(trained):
    lines = trained[1].stdout.splitlines()
    assert ' '.join(lines[0].split()) == (
        'epoch iteration loss val loss perplexity val perplexity accuracy val accuracy elapsed')
    rows = [line for line in lines[1:] if line.split()[0].isdigit()]
    assert len(rows) == 12
    assert all(len(row) == len(lines[0]) for row in rows)
    assert sum(line.startswith('        3.jpg: ') for line in lines) == 12
    assert 'best validation loss' in lines[-1]
    assert '\x1b' not in trained[1].stdout


def test_writes_models_plots_and_snapshot_and_nothing_else(trained):
    names = {path.name for path in trained[0].iterdir()}
    assert names == {'log', 'loss.png', 'accuracy.png', 'best.h5', 'snapshot.h5',
                     *(f'epoch_{epoch:03}.h5' for epoch in range(1, 13))}
    for name in 'loss.png', 'accuracy.png':
        with Image.open(trained[0] / name) as plot:
            assert plot.format == 'PNG'
            assert plot.width > 500


def test_best_is_the_epoch_with_the_lowest_validation_loss(trained):
    log = json.loads((trained[0] / 'log').read_text())
    best = min(log, key=lambda entry: entry['validation/main/loss'])['epoch']
    best_arrays = arrays_of(trained[0] / 'best.h5')
    epoch_arrays = arrays_of(trained[0] / f'epoch_{best:03}.h5')
    for name, array in best_arrays.items():
        numpy.testing.assert_array_equal(array, epoch_arrays[name])


def test_best_may_be_the_epoch_with_the_best_captions(data, tmp_path):
    folder = tmp_path / 'result'
    process = train(data, folder, '--epoch', 30, '--best-by', 'CIDEr', '--patience', 3)
    assert process.returncode == 0, process.stderr
    log = json.loads((folder / 'log').read_text())
    cider = [entry['validation/main/CIDEr'] for entry in log]
    best = cider.index(max(cider)) + 1
    assert len(log) == min(30, best + 3)
    assert process.stdout.endswith(
        f'best validation CIDEr {max(cider):.4f} after epoch {best}: {folder / "best.h5"}\n')
    assert f'  {max(cider):.3f}  ' in process.stdout
    for name, array in arrays_of(folder / 'best.h5').items():
        numpy.testing.assert_array_equal(array, arrays_of(folder / f'epoch_{best:03}.h5')[name])

    captions = Captions.load(data / 'captions.h5')
    images, features = captions.images_of('val'), features_of(dataset())
    network = TrainedModel.load(folder / 'best.h5').network
    texts = [captions.vocabulary.decode(best.tokens) for best, in beam_search(
        network, features[captions.imgid[images]], beam_width=3, top=1)]
    scores, _ = CaptionScorer(captions.references_of(images), with_java=False)(texts)
    assert {name: log[best - 1][f'validation/main/{name}'] for name in scores} == \
        pytest.approx(scores)
    with Image.open(folder / 'cider.png') as plot:
        assert plot.width > 500


def test_validation_loss_is_the_mean_over_the_words(trained, data):
    """The log's figure equals one taken word by word from the saved model."""
    model = TrainedModel.load(trained[0] / 'epoch_012.h5').network
    captions = Captions.load(data / 'captions.h5')
    features = features_of(dataset())
    total, words = 0, 0
    for caption in captions.captions_of('val'):
        tokens = captions.tokens[captions.offsets[caption]:captions.offsets[caption + 1]].tolist()
        state = model.start(features[[captions.imgid[captions.image[caption]]]])
        for word, target in zip([0, *tokens], [*tokens, 1]):
            log_probs, state = model.step(numpy.array([word]), state)
            total -= log_probs[0, target]
            words += 1
    log = json.loads((trained[0] / 'log').read_text())
    assert log[-1]['validation/main/loss'] == pytest.approx(total / words, abs=1e-5)


def test_model_is_enough_by_itself(trained, data):
    model = TrainedModel.load(trained[0] / 'best.h5')
    assert model.vocabulary == Captions.load(data / 'captions.h5').vocabulary
    assert model.network.hyperparameters == {
        'feature_size': 8, 'vocabulary_size': 16, 'embed_size': 12, 'hidden_size': 16,
        'dropout': 0.1, 'n_layers': 1}
    features = features_of(dataset())[[k for k in range(30) if k % 5 < 3]]
    standardized = (features - model.network.feature_mean) * model.network.feature_scale
    numpy.testing.assert_allclose(standardized.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize('flags', [
    ('--lr-decay', 0.7, '--lr-decay-every', 2, '--gradient-clip', 1),
    ('--optimizer', 'momentum', '--warm-up', 30, '--weight-decay', 1e-4, '--label-smoothing', 0.1),
    ('--optimizer', 'rmsprop', '--loss', 'sentence', '--layers', 2, '--best-by', 'CIDEr')],
    ids=['decay', 'momentum', 'rmsprop'])
def test_resuming_is_exact(data, tmp_path, flags):
    assert train(data, tmp_path / 'straight', '--epoch', 6, *flags).returncode == 0
    assert train(data, tmp_path / 'resumed', '--epoch', 3, *flags).returncode == 0
    process = train(data, tmp_path / 'resumed', '--epoch', 6, '--resume', *flags)
    assert process.returncode == 0, process.stderr

    for name in 'epoch_006.h5', 'best.h5', 'snapshot.h5':
        straight = arrays_of(tmp_path / 'straight' / name)
        resumed = arrays_of(tmp_path / 'resumed' / name)
        assert straight.keys() == resumed.keys()
        for key in straight:
            if 'elapsed_time' not in key and '_log' not in key:
                numpy.testing.assert_array_equal(resumed[key], straight[key], err_msg=key)
    logs = [json.loads((tmp_path / name / 'log').read_text()) for name in ('straight', 'resumed')]
    for straight, resumed in zip(*logs, strict=True):
        assert straight.pop('elapsed_time') and resumed.pop('elapsed_time')
        assert straight == resumed


def test_the_seed_decides(data, tmp_path):
    for name, seed in ('a', 1), ('b', 1), ('c', 2):
        train(data, tmp_path / name, '--epoch', 1, '--seed', seed)
    a, b, c = (arrays_of(tmp_path / name / 'epoch_001.h5')['network/output/W'] for name in 'abc')
    numpy.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_patience_ends_the_training(data, tmp_path):
    process = train(data, tmp_path / 'result', '--epoch', 100, '--patience', 2, '--lr', 0.05)
    assert process.returncode == 0
    losses = [entry['validation/main/loss']
              for entry in json.loads((tmp_path / 'result' / 'log').read_text())]
    assert len(losses) < 100
    assert losses.index(min(losses)) == len(losses) - 3
    resumed = train(data, tmp_path / 'result', '--epoch', 100, '--patience', 2, '--lr', 0.05,
                    '--resume')
    assert resumed.returncode == 0
    assert len(json.loads((tmp_path / 'result' / 'log').read_text())) == len(losses)


def test_learning_rate_decays(data, tmp_path):
    train(data, tmp_path / 'a', '--epoch', 2, '--lr-decay', 1e-9)
    train(data, tmp_path / 'b', '--epoch', 1)
    after_two = arrays_of(tmp_path / 'a' / 'epoch_002.h5')
    after_one = arrays_of(tmp_path / 'b' / 'epoch_001.h5')
    for name, array in after_one.items():
        if name.startswith('network'):
            numpy.testing.assert_allclose(after_two[name], array, atol=1e-6)


@pytest.mark.parametrize('flags', [
    *(['--optimizer', name] for name in OPTIMIZERS), ['--loss', 'sentence'],
    ['--optimizer', 'sgd', '--loss', 'sentence', '--lr', '0.1']], ids=' '.join)
def test_every_optimizer_learns(data, tmp_path, flags):
    process = train(data, tmp_path / 'result', '--epoch', 15, '--dropout', 0, *flags,
                    small=SMALL[:-2])
    assert process.returncode == 0, process.stderr
    losses = [entry['validation/main/loss']
              for entry in json.loads((tmp_path / 'result' / 'log').read_text())]
    assert losses[-1] < 0.9 * losses[0]
    assert losses[-1] < 2.2    # 2.77 is that of guessing


@pytest.mark.parametrize('flags', [
    ['--scheduled-sampling', 0.3], ['--lr-schedule', 'cosine', '--warm-up', 5], ['--layers', 2]],
    ids=lambda flags: flags[0])
def test_variants_learn_and_are_resumed(data, tmp_path, flags):
    process = train(data, tmp_path / 'result', '--epoch', 12, *flags)
    assert process.returncode == 0, process.stderr
    log = json.loads((tmp_path / 'result' / 'log').read_text())
    assert log[-1]['validation/main/loss'] < 0.8 * log[0]['validation/main/loss']
    resumed = train(data, tmp_path / 'result', '--epoch', 13, '--resume', *flags)
    if flags[0] == '--layers':
        assert resumed.returncode == 0, resumed.stderr
    else:
        assert_input_error(resumed, 'last_epoch')


def test_starts_from_a_trained_model(data, trained, tmp_path):
    process = train(data, tmp_path / 'tuned', '-m', trained[0] / 'best.h5', '--epoch', 1,
                    '--lr', 1e-9, small=())
    assert process.returncode == 0, process.stderr
    tuned, before = (arrays_of(path) for path in (
        tmp_path / 'tuned' / 'epoch_001.h5', trained[0] / 'best.h5'))
    for name, array in before.items():
        if name.startswith('network'):
            numpy.testing.assert_allclose(tuned[name], array, atol=1e-5, err_msg=name)


def test_a_batch_larger_than_the_data_and_one_of_one_caption(data, tmp_path):
    for size in 1000, 1:
        process = train(data, tmp_path / str(size), '--epoch', 2, '--batch-size', size)
        assert process.returncode == 0, process.stderr


def test_how_the_features_were_made_goes_into_the_model(data, tmp_path):
    source = FeatureSource('net.caffemodel', 'pool10', 227, [1.0, 2.0, 3.0], 'crop')
    save_features(tmp_path / 'feats.mat', Features(features_of(dataset()), source))
    train(data, tmp_path / 'result', '--epoch', 1, '-i', tmp_path / 'feats.mat')
    assert TrainedModel.load(tmp_path / 'result' / 'best.h5').feature_source == source


def test_wrong_flags_are_refused(data, trained, tmp_path):
    def refused(*flags):
        return train(data, tmp_path / 'result', *flags)
    for flags in (['--epoch', 0], ['--dropout', 1], ['--lr', 'fast'], ['--hiden', 3],
                  ['--batch-size', -1], ['--lr', 'nan'], ['--gradient-clip', 'inf'],
                  ['--seed', 2 ** 32], ['--optimizer', 'adamw'], ['--label-smoothing', 1],
                  ['--warm-up', -1], ['--weight-decay', -1], ['--lr-schedule', 'none']):
        assert_input_error(refused(*flags), flags[0])
    assert_input_error(refused('-g', 99), '--gpu 99')
    assert_input_error(refused('--tf32'), '--tf32')
    assert_input_error(refused('--resume'), '--resume', 'snapshot.h5')
    assert_input_error(refused('-s', tmp_path / 'none.h5'), 'none.h5', 'preprocess_vocab.py')
    assert_input_error(refused('-i', tmp_path / 'none.mat'), 'none.mat')
    assert_input_error(refused('-m', data / 'captions.h5'), 'captions.h5', 'not a trained model')
    assert_input_error(refused('-m', trained[0] / 'best.h5', '--hidden', 99), '--hidden 99')
    assert_input_error(train(data, trained[0]), '--output', '--resume')
    assert not (tmp_path / 'result').exists()
    (tmp_path / 'file').touch()
    process = train(data, tmp_path / 'file' / 'result')
    assert_input_error(process, tmp_path / 'file')
    assert process.stdout == ''


def test_resuming_with_other_settings_is_refused(data, trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / 'result')
    same = ('--standardize', '--dropout', 0.1, '--resume')
    assert_input_error(train(data, tmp_path / 'result', *same, '--hidden', 17), 'hidden_size', 17)
    assert_input_error(train(data, tmp_path / 'result', *same, '--lr', 0.02), 'lr is 0.02')
    assert_input_error(train(data, tmp_path / 'result', *same, '--optimizer', 'sgd'), 'optimizer')
    assert_input_error(train(data, tmp_path / 'result', *same, '--best-by', 'CIDEr'), 'best_by')
    snapshot = tmp_path / 'result' / 'snapshot.h5'
    snapshot.write_bytes(snapshot.read_bytes()[:3000])
    assert_input_error(train(data, tmp_path / 'result', *same), 'snapshot.h5', 'damaged')


def test_data_that_do_not_fit_are_refused(data, trained, tmp_path):
    features = features_of(dataset())
    write_matlab(tmp_path / 'few.mat', features[:20])
    assert_input_error(train(data, tmp_path / 'result', '-i', tmp_path / 'few.mat'), '20 columns')
    features[4, 2] = numpy.nan
    write_matlab(tmp_path / 'nan.mat', features)
    assert_input_error(train(data, tmp_path / 'result', '-i', tmp_path / 'nan.mat'), 'column 4')
    write_matlab(tmp_path / 'wide.mat', features_of(dataset(), size=9))
    assert_input_error(train(data, tmp_path / 'result', '-i', tmp_path / 'wide.mat',
                             '-m', trained[0] / 'best.h5', small=()), 'size 8', 'have 9')
    write_json(tmp_path / 'dataset.json', dataset(splits=('train',)))
    run_script('preprocess_vocab.py', tmp_path / 'dataset.json', '-o', tmp_path / 'captions.h5')
    assert_input_error(train(data, tmp_path / 'result', '-s', tmp_path / 'captions.h5'), '"val"')
    assert_input_error(train(data, tmp_path / 'result', '-s', tmp_path / 'captions.h5',
                             '-m', trained[0] / 'best.h5', small=()), '"val"')


def test_divergence_is_said_in_one_line(data, tmp_path):
    process = train(data, tmp_path / 'result', '--lr', 1e30, '--epoch', 3)
    assert_input_error(process, 'the loss is', '--lr')
