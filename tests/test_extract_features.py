import os

import chainer
import numpy
import pytest
from chainer.links.caffe import CaffeFunction

from lib.features.feature_file import FeatureSource, load_features
from lib.features.images import prepare_image, read_image
from lib.features.partial_file import PartialFeatures
from tests.helpers import caffemodels
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import dataset, write_image, write_json
from tests.helpers.scripts import run_script

N_IMAGES = 5
# The images have the odd numbers.
IMGIDS = [1, 3, 5, 7, 9]
LAYER = 'pool5/7x7_s1'


@pytest.fixture
def folder(tmp_path):
    """A folder with a caffemodel, a dataset.json and its images."""
    content = dataset(n_images=N_IMAGES)
    for image, imgid in zip(content['images'], IMGIDS):
        image['imgid'] = imgid
        write_image(tmp_path / image['filename'], seed=imgid)
    write_json(tmp_path / 'dataset.json', content)
    caffemodels.write_googlenet(tmp_path / 'googlenet.caffemodel')
    return tmp_path


def extract(folder, *flags, layer=LAYER):
    inputs = [
        *('-i', folder / 'googlenet.caffemodel'),
        *('--dataset', folder / 'dataset.json'),
        *('--image-root', folder),
        *('-o', folder / 'feats.mat'),
    ]
    return run_script('extract_features.py', *inputs, '--layer', layer, *flags)


def test_writes_features_like_caffe_function(folder):
    process = extract(folder, '--mean', 104, 117, 123, '--resize', 'crop')
    assert process.returncode == 0
    assert process.stderr == ''
    features = load_features(folder / 'feats.mat')
    assert features.source == FeatureSource(
        'googlenet.caffemodel', LAYER, 224, [104.0, 117.0, 123.0], 'crop'
    )
    assert features.array.shape == (2 * N_IMAGES, 8)
    network = CaffeFunction(str(folder / 'googlenet.caffemodel'))
    for number, imgid in enumerate(IMGIDS):
        pixels = prepare_image(read_image(folder / f'{number}.jpg'), 224, [104, 117, 123], 'crop')
        with chainer.using_config('train', False):
            (expected,) = network(inputs={'data': pixels[None]}, outputs=[LAYER])
        numpy.testing.assert_allclose(
            features.array[imgid], expected.array.ravel(), rtol=1e-4, atol=1e-4
        )
    assert numpy.isnan(features.array[::2]).all()


def test_features_of_an_unreadable_image_are_nan(folder):
    (folder / '2.jpg').write_text('not an image')
    process = extract(folder)
    assert process.returncode == 1
    assert '2.jpg' in process.stderr
    is_finite = numpy.isfinite(load_features(folder / 'feats.mat').array).all(axis=1)
    assert numpy.flatnonzero(is_finite).tolist() == [1, 3, 7, 9]


def test_continues_after_an_interruption(folder):
    extract(folder)
    complete = load_features(folder / 'feats.mat').array
    source = FeatureSource('googlenet.caffemodel', LAYER, 224, [103.939, 116.779, 123.68], 'warp')
    caffemodel = os.stat(folder / 'googlenet.caffemodel')
    settings = {**vars(source), 'size': caffemodel.st_size, 'modified': caffemodel.st_mtime}
    # Values that the network does not compute, to see that they are not computed again.
    PartialFeatures(str(folder / 'feats.mat'), 2 * N_IMAGES, settings).put(
        [1, 5], numpy.full((2, 8), 7, 'float32')
    )
    process = extract(folder)
    assert process.returncode == 0
    assert process.stderr == f'continuing after 2 of {N_IMAGES} images\n'
    array = load_features(folder / 'feats.mat').array
    assert (array[[1, 5]] == 7).all()
    numpy.testing.assert_array_equal(array[[3, 7, 9]], complete[[3, 7, 9]])
    assert not (folder / 'feats.mat.partial').exists()


@pytest.mark.parametrize('damage', ['other settings', 'cut short'])
def test_partial_features_that_cannot_be_used_are_discarded(folder, damage):
    partial = PartialFeatures(str(folder / 'feats.mat'), 2 * N_IMAGES, {'network': 'other'})
    partial.put([1], numpy.full((1, 8), 7, 'float32'))
    if damage == 'cut short':
        complete = (folder / 'feats.mat.partial').read_bytes()
        (folder / 'feats.mat.partial').write_bytes(complete[: len(complete) // 2])
    process = extract(folder)
    assert process.stderr == ''
    assert (load_features(folder / 'feats.mat').array[1] != 7).any()


def test_suffix_h5_writes_hdf5(folder):
    for name in 'feats.mat', 'feats.h5':
        process = extract(folder, '-o', folder / name)
        assert process.returncode == 0, process.stderr
    matlab, hdf5 = (load_features(folder / name) for name in ('feats.mat', 'feats.h5'))
    numpy.testing.assert_array_equal(matlab.array, hdf5.array)
    assert matlab.source == hdf5.source


def test_reads_lists_of_images(folder):
    (folder / 'list.tsv').write_text(''.join(f'{n}.jpg#0\ta dog\n' for n in range(3)))
    process = extract(folder, '--dataset', f'train={folder}/list.tsv')
    assert process.returncode == 0, process.stderr
    assert load_features(folder / 'feats.mat').array.shape == (3, 8)


def test_invalid_input_is_rejected(folder):
    assert_input_error(extract(folder, layer='fc7'), '--layer fc7')
    assert_input_error(extract(folder, '--image-root', folder / 'none'), '--image-root', '0.jpg')
    for number in range(N_IMAGES):
        (folder / f'{number}.jpg').write_text('not an image')
    process = extract(folder)
    assert process.returncode == 2
    *unreadable, error = process.stderr.splitlines()
    assert len(unreadable) == N_IMAGES
    assert error == f'error: --image-root {folder}: none of the images can be read'
    (folder / '3.jpg').unlink()
    assert_input_error(extract(folder), '1 of 5', '3.jpg')
    assert not (folder / 'feats.mat').exists()
