"""The GPU gives what the CPU gives; skipped where there is no GPU."""

from lib.beam_search import beam_search
from lib.command_line import select_device
from lib.consensus import rank_by_consensus
from lib.constraints import MinimumLength, NoRepeatedNgrams
from lib.diverse_beam_search import diverse_beam_search
from lib.ensemble import Ensemble
from lib.errors import InputError
from lib.feature_extractor import FeatureExtractor
from lib.features import FeatureSource
from lib.sampling import sample
from lib.trained_model import TrainedModel
from tests import caffemodels
from tests.models.test_show_and_tell import LENGTHS, TOLERANCE, make_batch, make_model
from tests.samples import dataset, features_of, run_script, small_model, write_json, write_matlab

import chainer
import numpy
import pytest


@pytest.fixture
def gpu():
    try:
        device = select_device(0)
    except InputError as error:
        pytest.skip(f'no GPU: {error}')
    yield device
    select_device(-1)


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('lengths', LENGTHS)
@pytest.mark.parametrize('label_smoothing', [0, 0.1])
def test_loss_and_gradients(gpu, lengths, dtype, label_smoothing):
    features, _, _, inputs, targets, batch_sizes = make_batch(lengths, 6, 11, dtype)
    model, _ = make_model(dtype, n_layers=2)
    model.label_smoothing = label_smoothing
    loss = model(features, inputs, targets, batch_sizes)
    model.cleargrads()
    loss.backward()

    gpu_model, _ = make_model(dtype, n_layers=2)
    gpu_model.label_smoothing = label_smoothing
    gpu_model.to_device(gpu)
    gpu_loss = gpu_model(gpu.send(features), gpu.send(inputs), gpu.send(targets), batch_sizes)
    gpu_model.cleargrads()
    gpu_loss.backward()
    to_cpu = chainer.get_device('@numpy').send
    assert float(gpu_loss.array) == pytest.approx(float(loss.array), abs=TOLERANCE[dtype])
    for param, gpu_param in zip(model.params(), gpu_model.params()):
        numpy.testing.assert_allclose(to_cpu(gpu_param.grad), param.grad, rtol=0,
                                      atol=TOLERANCE[dtype])


def test_beam_search(gpu):
    model = small_model().network
    features = numpy.random.RandomState(3).randn(7, 8).astype('float32')
    expected = beam_search(model, features)
    model.to_device(gpu)
    for sentences, expected_sentences in zip(beam_search(model, gpu.send(features)), expected):
        assert [each.tokens for each in sentences] == [each.tokens for each in expected_sentences]
        numpy.testing.assert_allclose([each.log_prob for each in sentences],
                                      [each.log_prob for each in expected_sentences], atol=1e-3)


def test_other_ways_to_decode(gpu):
    networks = [small_model(seed=seed).network for seed in (0, 1)]
    features = numpy.random.RandomState(3).randn(7, 8).astype('float32')

    def decode(ensemble, features):
        yield from beam_search(ensemble, features, 6, 4, 12, 0.7,
                               [MinimumLength(3), NoRepeatedNgrams(2)])
        yield from diverse_beam_search(ensemble, features, 6, 6, 9, groups=3, diversity=0.8)

    expected = list(decode(Ensemble(networks), features))
    for network in networks:
        network.to_device(gpu)
    for sentences, others in zip(decode(Ensemble(networks), gpu.send(features)), expected):
        assert [each.tokens for each in sentences] == [each.tokens for each in others]
    drawn = sample(Ensemble(networks), gpu.send(features), 5, max_length=9)
    assert [len(sentences) for sentences in drawn] == [5] * 7
    ranked = rank_by_consensus(Ensemble(networks), gpu.send(features), drawn, 20, max_length=9)
    assert [sorted(map(repr, sentences)) for sentences in ranked] == [
        sorted(map(repr, sentences)) for sentences in drawn]


def test_features(gpu, tmp_path):
    """Winograd's and the other convolutions, and pooling, on pictures of odd numbers."""
    path = caffemodels.write_vgg19(tmp_path / 'vgg19.caffemodel', width=16)
    source = FeatureSource('vgg19.caffemodel', 'fc7', 224, [104, 117, 123], 'warp')
    pixels = (255 * numpy.random.RandomState(0).rand(5, 3, 224, 224) - 110).astype('float32')
    expected = FeatureExtractor(path, source, chainer.get_device('@numpy'), 2)(pixels)
    features = chainer.get_device('@numpy').send(FeatureExtractor(path, source, gpu, 4)(pixels))
    numpy.testing.assert_allclose(features, expected, rtol=0, atol=1e-3 * abs(expected).max())


def test_trains_resumes_and_is_loaded_on_the_cpu(gpu, tmp_path):
    content = dataset()
    write_json(tmp_path / 'dataset.json', content)
    write_matlab(tmp_path / 'feats.mat', features_of(content))
    run_script('preprocess_vocab.py', tmp_path / 'dataset.json', '-o', tmp_path / 'captions.h5')
    for flags in ('--epoch', 4), ('--epoch', 6, '--resume', '--tf32'):
        process = run_script('train.py', '-g', 0, '-s', tmp_path / 'captions.h5', '-i',
                             tmp_path / 'feats.mat', '-o', tmp_path / 'result', '--hidden', 16,
                             '--embed', 12, '--batch-size', 8, '--lr', 0.01, *flags)
        assert process.returncode == 0, process.stderr
        assert process.stderr == ''
    model = TrainedModel.load(tmp_path / 'result' / 'epoch_006.h5')
    assert isinstance(model.network.output.W.array, numpy.ndarray)
    best, = beam_search(model.network, features_of(content)[:1], beam_width=3, top=1)
    assert best[0].tokens
