from lib.features import FeatureSource, load_features
from lib.photographs import prepare, read_photograph
from tests import caffemodels
from tests.samples import assert_input_error, dataset, run_script, write_json, write_photograph

import chainer
import numpy
import pytest
from chainer.links.caffe import CaffeFunction

N_IMAGES = 5


@pytest.fixture
def folder(tmp_path):
    content = dataset(n_images=N_IMAGES)
    for image in content['images']:
        image['imgid'] = 2 * image['imgid'] + 1
        write_photograph(tmp_path / image['filename'], seed=image['imgid'])
    write_json(tmp_path / 'dataset.json', content)
    caffemodels.write_googlenet(tmp_path / 'googlenet.caffemodel')
    return tmp_path


def extract(folder, *flags, layer='pool5/7x7_s1'):
    return run_script('extract_features.py', '-i', folder / 'googlenet.caffemodel', '--dataset',
                      folder / 'dataset.json', '--image-root', folder, '-o',
                      folder / 'feats.mat', '--layer', layer, *flags)


def test_column_n_holds_the_features_of_imgid_n(folder):
    process = extract(folder, '--mean', 104, 117, 123, '--resize', 'crop')
    assert process.returncode == 0
    assert process.stderr == ''
    features = load_features(folder / 'feats.mat')
    assert features.source == FeatureSource(
        'googlenet.caffemodel', 'pool5/7x7_s1', 224, [104.0, 117.0, 123.0], 'crop')
    assert features.array.shape == (2 * N_IMAGES, 8)
    network = CaffeFunction(str(folder / 'googlenet.caffemodel'))
    for number in range(N_IMAGES):
        pixels = prepare(read_photograph(folder / f'{number}.jpg'), 224, [104, 117, 123], 'crop')
        with chainer.using_config('train', False):
            expected, = network(inputs={'data': pixels[None]}, outputs=['pool5/7x7_s1'])
        numpy.testing.assert_allclose(features.array[2 * number + 1],
                                      expected.array.ravel(), rtol=1e-4, atol=1e-4)
    assert numpy.isnan(features.array[::2]).all()


def test_an_unreadable_photograph_becomes_nan(folder):
    (folder / '2.jpg').write_text('no picture')
    process = extract(folder)
    assert process.returncode == 1
    assert '2.jpg' in process.stderr
    bad = ~numpy.isfinite(load_features(folder / 'feats.mat').array).all(axis=1)
    assert numpy.flatnonzero(~bad).tolist() == [1, 3, 7, 9]


def test_wrong_input_is_refused(folder):
    assert_input_error(extract(folder, layer='fc7'), '--layer fc7')
    assert_input_error(extract(folder, '--image-root', folder / 'none'), '--image-root', '0.jpg')
    for number in range(N_IMAGES):
        (folder / f'{number}.jpg').write_text('no picture')
    process = extract(folder)
    assert process.returncode == 2
    assert 'no photograph could be read' in process.stderr.splitlines()[-1]
    (folder / '3.jpg').unlink()
    assert_input_error(extract(folder), '1 of 5', '3.jpg')
    assert not (folder / 'feats.mat').exists()
