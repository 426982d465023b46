"""Compares results on a GPU with those on the CPU; skipped where there is no GPU."""

import chainer
import numpy
import pytest

from lib.decoding.beam_search import beam_search
from lib.decoding.constraints import MinimumLength, NoRepeatedNgrams
from lib.decoding.diverse_beam_search import diverse_beam_search
from lib.decoding.ensemble import Ensemble
from lib.decoding.minimum_bayes_risk import mbr_rerank
from lib.decoding.sampling import sample
from lib.device import select_device
from lib.errors import InputError
from lib.features.extractor import FeatureExtractor
from lib.features.feature_file import FeatureSource
from lib.trained_model import TrainedModel
from tests.helpers import caffemodels
from tests.helpers.assertions import assert_same_captions
from tests.helpers.plain_show_and_tell import LENGTHS, TOLERANCE, make_batch, make_model
from tests.helpers.samples import (
    dataset,
    features_of,
    random_features,
    small_model,
    write_json,
    write_matlab,
)
from tests.helpers.scripts import run_script

to_cpu = chainer.get_device('@numpy').send


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
def test_loss_and_gradients_match_the_cpu(gpu, lengths, dtype, label_smoothing):
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
    assert float(gpu_loss.array) == pytest.approx(float(loss.array), abs=TOLERANCE[dtype])
    for param, gpu_param in zip(model.params(), gpu_model.params()):
        numpy.testing.assert_allclose(
            to_cpu(gpu_param.grad), param.grad, rtol=0, atol=TOLERANCE[dtype]
        )


def test_beam_search_matches_the_cpu(gpu):
    model = small_model().network
    features = random_features(7)
    expected_captions = beam_search(model, features)
    model.to_device(gpu)
    for captions, expected in zip(beam_search(model, gpu.send(features)), expected_captions):
        assert_same_captions(captions, expected, atol=1e-3)


def test_other_decoders_match_the_cpu(gpu):
    models = [small_model(seed=seed) for seed in (0, 1)]
    ensemble, features = Ensemble(models), random_features(7)

    def search(features):
        constraints = [MinimumLength(3), NoRepeatedNgrams(2)]
        return [
            *beam_search(ensemble, features, 6, 4, 12, 0.7, constraints),
            *diverse_beam_search(
                ensemble,
                features,
                beam_groups=3,
                diversity_penalty=0.8,
                beam_width=6,
                top=6,
                max_length=9,
            ),
        ]

    expected_captions = search(features)
    for model in models:
        model.network.to_device(gpu)
    features = gpu.send(features)
    for captions, expected in zip(search(features), expected_captions, strict=True):
        assert [caption.tokens for caption in captions] == [caption.tokens for caption in expected]
    sampled = sample(ensemble, features, 5, max_length=9)
    assert [len(captions) for captions in sampled] == [5] * 7
    reranked = mbr_rerank(ensemble, features, sampled, 20, max_length=9)
    assert [sorted(map(repr, captions)) for captions in reranked] == [
        sorted(map(repr, captions)) for captions in sampled
    ]


def test_extracted_features_match_the_cpu(gpu, tmp_path):
    """Covers both kinds of convolution and pooling, with an odd number of images."""
    path = caffemodels.write_vgg19(tmp_path / 'vgg19.caffemodel', width=16)
    source = FeatureSource('vgg19.caffemodel', 'fc7', 224, [104, 117, 123], 'warp')
    pixels = (255 * numpy.random.RandomState(0).rand(5, 3, 224, 224) - 110).astype('float32')
    expected = FeatureExtractor(path, source, chainer.get_device('@numpy'), 2)(pixels)
    features = to_cpu(FeatureExtractor(path, source, gpu, 4)(pixels))
    numpy.testing.assert_allclose(features, expected, rtol=0, atol=1e-3 * abs(expected).max())


def test_training_resumes_and_the_model_loads_on_the_cpu(gpu, tmp_path):
    content = dataset()
    path = write_json(tmp_path / 'dataset.json', content)
    features = write_matlab(tmp_path / 'feats.mat', features_of(content))
    captions, output = tmp_path / 'captions.h5', tmp_path / 'result'
    run_script('preprocess_vocab.py', path, '-o', captions)
    small = '--hidden 16 --embed 12 --batch-size 8 --lr 0.01'
    for flags in '--epoch 4', '--epoch 6 --resume --tf32':
        process = run_script(
            'train.py',
            *('-g', 0, '-s', captions, '-i', features, '-o', output),
            *small.split(),
            *flags.split(),
        )
        assert process.returncode == 0, process.stderr
        assert process.stderr == ''
    model = TrainedModel.load(output / 'epoch_006.h5')
    assert isinstance(model.network.output.W.array, numpy.ndarray)
    (best,) = beam_search(model.network, features_of(content)[:1], beam_width=3, top=1)
    assert best[0].tokens
