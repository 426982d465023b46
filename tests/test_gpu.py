"""What only a GPU does; tests that take a ``device`` cover the rest."""

import contextlib
import json
import warnings

import chainer
import numpy
import pytest

from lib.decoding.beam_search import Beam
from lib.decoding.constraints import MinimumLength, NoRepeatedNgrams
from lib.device import select_device
from lib.features.formats import read_features
from lib.training.optimizers import OPTIMIZERS, make_optimizer
from models.fast.products import Product, batched_product, is_tf32
from tests.helpers import caffemodels
from tests.helpers.assertions import assert_input_error
from tests.helpers.networks import make_batch, make_networks
from tests.helpers.samples import dataset, random_features, small_model, write_image, write_json
from tests.helpers.scripts import run_python, run_script
from tests.helpers.training import SMALL, arrays_of, assert_same_training, train, validation_losses

# Of CuPy's compute types.
COMPUTE_TYPE_TF32 = 7
to_cpu = chainer.get_device('@numpy').send


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_a_training_step_does_not_wait_for_the_gpu(gpu, optimizer):
    network, _ = make_networks(gpu, 'float32', dropout=0.5, n_layers=2)
    network.label_smoothing = 0.1
    network.sampling_probability = 0.5
    batch = make_batch(gpu, [5, 3, 2], 'float32')
    optimizer = make_optimizer(network, optimizer, 0.01, weight_decay=0.01, gradient_clip=1)
    with chainer.using_config('train', True):
        optimizer.update(network, batch)  # compiles kernels
        with allowing_to_wait(False):
            optimizer.update(network, batch)


def test_beam_search_waits_for_the_number_of_unfinished_captions_only(gpu, monkeypatch):
    import cupy

    network, flatnonzero = small_model().network, cupy.flatnonzero

    def allowed_flatnonzero(array):
        with allowing_to_wait(True):
            return flatnonzero(array)

    monkeypatch.setattr(cupy, 'flatnonzero', allowed_flatnonzero)
    network.to_device(gpu)
    beam = Beam(network, gpu.send(random_features(4)), width=5, max_length=7)
    constraints = [MinimumLength(3), NoRepeatedNgrams(2)]
    beam.advance(constraints)
    with allowing_to_wait(False):
        while beam.is_running:
            beam.advance(constraints)


@contextlib.contextmanager
def allowing_to_wait(is_allowed):
    import cupyx

    with warnings.catch_warnings():
        # CuPy warns that it does not notice everything.
        warnings.simplefilter('ignore')
        with cupyx.allow_synchronize(is_allowed):
            yield


def test_training_twice_gives_the_same_bits(gpu, data, tmp_path):
    flags = '--epoch 2 --scheduled-sampling 0.5 --layers 2'
    for name in 'a', 'b':
        assert train(data, tmp_path / name, flags, device=gpu).returncode == 0
    assert_same_training(tmp_path / 'a', tmp_path / 'b', ['best.h5', 'snapshot.h5'])


def test_models_move_between_cpu_and_gpu(gpu, data, trained, tmp_path):
    """Continues a model trained on the CPU on a GPU, and the result on the CPU."""
    model = trained[0] / 'best.h5'
    for name, device in ('gpu', gpu), ('cpu', None):
        output = tmp_path / name
        process = train(data, output, '-m', model, '--epoch 1 --lr 1e-9', small='', device=device)
        assert process.returncode == 0, process.stderr
        arrays = arrays_of(output / 'best.h5')
        for key, array in arrays_of(model).items():
            if key.startswith('network'):
                numpy.testing.assert_allclose(arrays[key], array, atol=1e-5, err_msg=key)
        model = output / 'best.h5'
    # The loss is that of the CPU.
    losses = [validation_losses(tmp_path / name)[-1] for name in ('gpu', 'cpu')]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_training_with_features_that_do_not_fit_on_the_gpu_is_the_same(gpu, data, tmp_path):
    flags = '--epoch 2 --standardize --select-by CIDEr'
    assert train(data, tmp_path / 'gpu', flags, device=gpu).returncode == 0
    code = (
        'import runpy, sys; from lib.features import table; table.SHARE_OF_GPU_MEMORY = 0; '
        'runpy.run_path("train.py", run_name="__main__")'
    )
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat', '-o', tmp_path / 'host'
    process = run_python(code, '-g', 0, *inputs, *SMALL.split(), *flags.split())
    assert process.returncode == 0, process.stderr
    assert process.stderr.startswith('note: ')
    assert_same_training(tmp_path / 'host', tmp_path / 'gpu', ['best.h5', 'snapshot.h5'])


def test_too_little_gpu_memory_is_an_error_message(gpu, data, tmp_path, monkeypatch):
    monkeypatch.setenv('CUPY_GPU_MEMORY_LIMIT', '100000')
    process = train(data, tmp_path / 'result', '--epoch 1 --hidden 200', device=gpu)
    assert_input_error(process, 'not enough memory')


def test_training_in_lower_precision_learns_as_well(gpu, data, tmp_path):
    losses = []
    for flags in '', '--tf32':
        output = tmp_path / f'result{flags}'
        process = train(data, output, '--epoch 6 --dropout 0', flags, device=gpu)
        assert process.returncode == 0, process.stderr
        losses.append(validation_losses(output)[-1])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize('tf32', [True, False])
def test_all_products_have_the_precision_that_was_chosen(gpu, tf32):
    """TensorFloat-32 has 10 bits of mantissa; sums have those of float32."""
    import cupy

    a, b = (random_features(3 * 40, 64, seed).reshape(3, 40, 64) for seed in (0, 1))
    exact = numpy.matmul(a.astype('float64'), b.swapaxes(1, 2))
    select_device(0, tf32)
    try:
        assert is_tf32() == tf32
        assert (cupy._core.get_compute_type('float32') == COMPUTE_TYPE_TF32) == tf32
        gpu_a, gpu_b = gpu.send((a, b))
        out = cupy.empty((40, 40), 'float32')
        Product('float32')(gpu_a.data.ptr, 40, gpu_b[0], out.data.ptr, transpose=True)
        products = [
            (batched_product(gpu_a, gpu_b), exact),
            (out, exact[0]),
            (gpu_a[0] @ gpu_b[0].T, exact[0]),
        ]
    finally:
        select_device(0)
    for product, expected in products:
        error = numpy.linalg.norm(to_cpu(product) - expected) / numpy.linalg.norm(expected)
        assert error < (1e-3 if tf32 else 1e-6)


def test_scripts_give_the_results_of_the_cpu(gpu, data, trained, tmp_path):
    cnn = caffemodels.write_vgg19(tmp_path / 'vgg19.caffemodel')
    images = [write_image(tmp_path / f'{seed}.jpg', seed) for seed in range(3)]
    write_json(tmp_path / 'dataset.json', dataset(n_images=3))
    small_model(feature_size=12).save(tmp_path / 'model.h5')
    inputs = '-s', data / 'captions.h5', '-i', data / 'feats.mat'
    process = run_script('index_captions.py', *inputs, '-o', tmp_path / 'index.h5')
    assert process.returncode == 0, process.stderr
    index = '--index', tmp_path / 'index.h5', '--index-features', data / 'feats.mat'

    def results(gpu_number):
        """Returns features, captions of images and captions of a split."""
        outputs = [tmp_path / f'{gpu_number}_{name}' for name in ('feats.h5', 'val')]
        for script, *arguments in (
            (
                *('extract_features.py', '-i', cnn, '-o', outputs[0]),
                *('--dataset', tmp_path / 'dataset.json', '--image-root', tmp_path),
            ),
            ('generate_caption.py', '-m', tmp_path / 'model.h5', '-i', cnn, *images),
            (
                *('evaluate.py', '-m', *[trained[0] / 'best.h5'] * 2),
                *(*inputs, '--json', outputs[1], '--mbr-neighbors', 5, *index),
            ),
        ):
            process = run_script(script, '-g', gpu_number, *arguments)
            assert process.returncode == 0, process.stderr
            if script == 'generate_caption.py':
                printed = process.stdout
        return read_features(outputs[0]).rows, printed, json.loads(outputs[1].read_text())

    (features, *captions), (expected, *expected_captions) = results(0), results(-1)
    numpy.testing.assert_allclose(features, expected, rtol=0, atol=1e-4 * abs(expected).max())
    assert captions == expected_captions
