import dataclasses

from lib.errors import InputError
from lib.feature_extractor import FeatureExtractor
from lib.features import FeatureSource
from lib.photographs import prepare
from tests import caffemodels

import chainer
import numpy
import pytest
from chainer.links.caffe import CaffeFunction
from PIL import Image

SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [103.939, 116.779, 123.68], 'warp')
CPU = chainer.get_device('@numpy')


def random_images(n):
    rng = numpy.random.RandomState(0)
    return [Image.fromarray(rng.randint(0, 256, (50, 30 + 9 * k, 3)).astype('uint8'))
            for k in range(n)]


@pytest.fixture(scope='module')
def vgg19(tmp_path_factory):
    return caffemodels.write_vgg19(tmp_path_factory.mktemp('vgg19') / 'vgg19.caffemodel')


def features_of(extractor, images):
    return extractor([extractor.prepare(image) for image in images])


@pytest.mark.parametrize('batch_size', [1, 2, 8])
def test_gives_what_the_whole_network_gives(vgg19, batch_size):
    images = random_images(3)
    features = features_of(FeatureExtractor(vgg19, SOURCE, CPU, batch_size), images)
    pixels = numpy.stack([prepare(image, 224, SOURCE.mean) for image in images])
    with chainer.using_config('train', False):
        expected, = CaffeFunction(str(vgg19))(inputs={'data': pixels}, outputs=['fc7'])
    assert features.shape == (3, 12)
    assert features.dtype == 'float32'
    assert features.min() >= 0
    assert features.std() > 0
    numpy.testing.assert_allclose(features, expected.array, rtol=1e-4, atol=1e-4)


def test_old_and_new_format_agree(vgg19, tmp_path):
    new = caffemodels.write_vgg19(tmp_path / 'new.caffemodel', old_format=False)
    images = random_images(1)
    numpy.testing.assert_array_equal(features_of(FeatureExtractor(vgg19, SOURCE, CPU, 1), images),
                                     features_of(FeatureExtractor(new, SOURCE, CPU, 1), images))


def test_googlenet_pool5_is_flattened(tmp_path):
    path = caffemodels.write_googlenet(tmp_path / 'googlenet.caffemodel')
    source = dataclasses.replace(SOURCE, layer='pool5/7x7_s1')
    features = features_of(FeatureExtractor(path, source, CPU, 2), random_images(2))
    assert features.shape == (2, 8)
    assert (features[0] != features[1]).any()


def test_computes_nothing_that_the_layer_does_not_need(vgg19):
    extractor = FeatureExtractor(vgg19, SOURCE, CPU, 1)
    assert extractor._skipped == {'fc8', 'prob'}
    features_of(extractor, random_images(1))
    assert extractor._network.variables == {}


def test_another_picture_size_is_refused(vgg19):
    source = dataclasses.replace(SOURCE, image_size=227 + 32)
    with pytest.raises(InputError, match='--image-size 259'):
        features_of(FeatureExtractor(vgg19, source, CPU, 1), random_images(1))


def test_a_picture_too_small_for_the_network_is_refused(tmp_path):
    path = caffemodels.write_googlenet(tmp_path / 'googlenet.caffemodel')
    source = dataclasses.replace(SOURCE, layer='pool5/7x7_s1', image_size=32)
    with pytest.raises(InputError, match='--image-size 32'):
        features_of(FeatureExtractor(path, source, CPU, 1), random_images(1))


def test_a_missing_layer_is_refused_with_those_that_exist(vgg19):
    source = dataclasses.replace(SOURCE, layer='pool10')
    with pytest.raises(InputError, match=r'--layer pool10.*conv1_1, .*fc7, fc8, prob'):
        FeatureExtractor(vgg19, source, CPU, 1)


@pytest.mark.parametrize('content', [b'', b'text that is no network', b'\x00' * 99])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / 'net.caffemodel'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'net\.caffemodel'):
        FeatureExtractor(path, SOURCE, CPU, 1)


def test_a_truncated_caffemodel_is_refused(vgg19, tmp_path):
    path = tmp_path / 'cut.caffemodel'
    whole = vgg19.read_bytes()
    for length in len(whole) // 3, len(whole) - 1:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r'cut\.caffemodel'):
            FeatureExtractor(path, SOURCE, CPU, 1)
