import dataclasses
import warnings

import chainer
import numpy
import pytest
from chainer.links.caffe import CaffeFunction
from PIL import Image

from lib.errors import InputError, InputWarning
from lib.features.cnn import CNN
from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import FeatureSource
from lib.features.images import UnreadableImageError, prepare_image, read_image
from tests.helpers import caffemodels
from tests.helpers.samples import write_image

SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [103.939, 116.779, 123.68], 'warp')
CPU = chainer.get_device('@numpy')
to_cpu = CPU.send


def make_extractor(path, source, device, batch_size=None):
    cnn = CNN(path, source.layer, source.image_size, device)
    return FeatureExtractor(cnn, source, device, batch_size)


def random_images(n):
    rng = numpy.random.RandomState(0)
    return [
        Image.fromarray(rng.randint(0, 256, (50, 30 + 9 * k, 3)).astype('uint8')) for k in range(n)
    ]


@pytest.fixture(scope='module')
def vgg19(tmp_path_factory):
    return caffemodels.write_vgg19(tmp_path_factory.mktemp('vgg19') / 'vgg19.caffemodel')


@pytest.fixture
def small_extractor(tmp_path):
    """An extractor for images of 8 x 8 pixels: a convolution, pooling and 5 features."""
    writer = caffemodels.Writer()
    writer.convolution('conv', 'data', n_in=3, n_out=2, kernel=3)
    writer.pool('pool', 'conv', kernel=2, stride=2)
    writer.inner_product('fc7', 'pool', n_in=2 * 3 * 3, n_out=5)
    path = writer.write(tmp_path / 'small.caffemodel')
    return make_extractor(path, dataclasses.replace(SOURCE, image_size=8), CPU)


def extract(extractor, images):
    """Returns the features of all images, extracted as one chunk, on the CPU."""
    ((indices, features),) = extractor.extract(images, chunk_size=len(images))
    assert indices == list(range(len(images)))
    return to_cpu(features)


@pytest.mark.parametrize('batch_size', [1, 2, 8])
def test_features_equal_those_of_chainers_caffe_function(device, vgg19, batch_size):
    images = random_images(3)
    features = extract(make_extractor(vgg19, SOURCE, device, batch_size), images)
    pixels = numpy.stack([prepare_image(image, 224, SOURCE.mean) for image in images])
    with chainer.using_config('train', False):
        (expected,) = CaffeFunction(str(vgg19))(inputs={'data': pixels}, outputs=['fc7'])
    assert features.shape == (3, 12)
    assert features.dtype == 'float32'
    assert features.min() >= 0
    assert features.std() > 0
    numpy.testing.assert_allclose(features, expected.array, rtol=1e-4, atol=1e-4)


def test_old_and_new_format_give_the_same_features(device, vgg19, tmp_path):
    new = caffemodels.write_vgg19(tmp_path / 'new.caffemodel', old_format=False)
    images = random_images(1)
    numpy.testing.assert_array_equal(
        extract(make_extractor(vgg19, SOURCE, device, 1), images),
        extract(make_extractor(new, SOURCE, device, 1), images),
    )


def test_googlenet_pool5_is_flattened(device, tmp_path):
    path = caffemodels.write_googlenet(tmp_path / 'googlenet.caffemodel')
    source = dataclasses.replace(SOURCE, layer='pool5/7x7_s1')
    features = extract(make_extractor(path, source, device, 2), random_images(2))
    assert features.shape == (2, 8)
    assert (features[0] != features[1]).any()


def pooled(blob, pool):
    reduce = {'average': numpy.mean, 'max': numpy.max, 'none': lambda array, axis: array}[pool]
    return (reduce(blob, axis=(2, 3)) if blob.ndim == 4 else blob).reshape(len(blob), -1)


@pytest.mark.parametrize('pool', ['none', 'average', 'max'])
@pytest.mark.parametrize('augment', ['none', 'flip'])
@pytest.mark.parametrize('layers', [['pool5'], ['fc7'], ['pool4', 'fc7', 'pool5'], ['fc6', 'fc7']])
def test_layers_are_pooled_concatenated_and_averaged_over_flips(
    device, vgg19, layers, pool, augment
):
    source = dataclasses.replace(SOURCE, layer='+'.join(layers), pool=pool, augment=augment)
    images = random_images(3)
    features = extract(make_extractor(vgg19, source, device, 2), images)
    pixels = numpy.stack([prepare_image(image, 224, SOURCE.mean) for image in images])
    network, expected = CaffeFunction(str(vgg19)), []
    for batch in (pixels, pixels[:, :, :, ::-1])[: 1 + (augment == 'flip')]:
        with chainer.using_config('train', False):
            blobs = network(inputs={'data': numpy.ascontiguousarray(batch)}, outputs=layers)
        expected.append(numpy.hstack([pooled(blob.array, pool) for blob in blobs]))
    numpy.testing.assert_allclose(features, numpy.mean(expected, axis=0), rtol=1e-3, atol=1e-4)


def test_sources_are_stored_as_json():
    source = dataclasses.replace(SOURCE, pool='max', augment='flip')
    assert FeatureSource.from_json(FeatureSource.to_json(source)) == source


@pytest.mark.parametrize(
    'name, value',
    [
        ('image_size', 0),
        ('image_size', 2049),
        ('mean', [1, 2]),
        ('mean', [1, 2, float('nan')]),
        ('resize', 'stretch'),
        ('pool', 'sum'),
        ('augment', 'rotate'),
    ],
)
def test_sources_that_no_feature_can_have_are_rejected(name, value):
    with pytest.raises(InputError) as raised:
        dataclasses.replace(SOURCE, **{name: value})
    assert raised.value.option == name


def test_a_network_may_begin_with_a_fully_connected_layer(device, tmp_path):
    writer = caffemodels.Writer()
    writer.inner_product('fc', 'data', 3 * 8 * 8, 5)
    path = writer.write(tmp_path / 'net.caffemodel')
    source = dataclasses.replace(SOURCE, layer='fc', image_size=8)
    pixels = numpy.random.RandomState(0).randn(3, 3, 8, 8).astype('float32')
    (expected,) = CaffeFunction(str(path))(inputs={'data': pixels}, outputs=['fc'])
    features = to_cpu(make_extractor(path, source, device, 2)(pixels))
    numpy.testing.assert_allclose(features, expected.array, rtol=1e-5, atol=1e-5)


def test_load_prepares_images_as_for_training_unless_told_otherwise(vgg19):
    trained_on = FeatureSource('other.caffemodel', 'fc6', 224, [1.0, 2.0, 3.0], 'crop')
    extractor = FeatureExtractor.load(vgg19, CPU, trained_on, resize='warp', layer=None)
    assert extractor.source == FeatureSource(
        'vgg19.caffemodel', 'fc6', 224, [1.0, 2.0, 3.0], 'warp'
    )


def test_load_prepares_images_as_karpathy_did_if_training_is_unknown(vgg19):
    extractor = FeatureExtractor.load(vgg19, CPU)
    assert extractor.source == dataclasses.replace(SOURCE, network='vgg19.caffemodel')


def test_load_notes_a_preparation_that_is_assumed(vgg19):
    note = 'images are prepared as for caffe, since neither a preparation nor a mean is given'
    with pytest.warns(InputWarning, match=note):
        FeatureExtractor.load(vgg19, CPU, layer=['fc6', 'fc7'])
    extractor = FeatureExtractor.load(vgg19, CPU, layer='fc6', preparation='clip', std=[1, 2, 3])
    assert extractor.source.channels == 'RGB'
    assert extractor.source.interpolation == 'bicubic'
    assert extractor.source.std == [1, 2, 3]


@pytest.mark.parametrize('mode', ['RGB', 'L', 'P', 'CMYK', 'RGBA'])
def test_an_image_in_memory_has_the_features_of_its_file(small_extractor, tmp_path, mode):
    path = write_image(tmp_path / 'image.tif', mode=mode)
    with Image.open(path) as image:
        assert image.mode == mode
        features = extract(small_extractor, [image, path])
    numpy.testing.assert_allclose(features[0], features[1], rtol=1e-5)


def test_chunks_come_in_order_and_only_the_next_one_is_prepared_ahead(small_extractor, tmp_path):
    paths = [write_image(tmp_path / f'{k}.png', seed=k, size=(30 + k, 20)) for k in range(8)]
    expected = small_extractor(
        [prepare_image(read_image(path), 8, SOURCE.mean, 'warp') for path in paths]
    )
    taken = []

    class RecordingList(list):
        def __getitem__(self, index):
            taken.append(index)
            return super().__getitem__(index)

    chunks = small_extractor.extract(RecordingList(paths), chunk_size=2)
    first = next(chunks)
    assert taken == [0, 1, 2, 3]
    indices, features = zip(first, *chunks)
    assert list(indices) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert taken == list(range(8))
    numpy.testing.assert_allclose(numpy.concatenate(features), expected, rtol=1e-5)


def test_no_images_have_no_chunks(small_extractor):
    assert list(small_extractor.extract([], chunk_size=2)) == []


def test_unreadable_images_are_reported_and_left_out(small_extractor, tmp_path):
    paths = [write_image(tmp_path / 'a.jpg'), tmp_path / 'b.jpg', write_image(tmp_path / 'c.jpg')]
    errors = []
    indices, features = zip(*small_extractor.extract(paths, 2, errors.append))
    assert list(indices) == [[0], [2]]
    assert [array.shape for array in features] == [(1, 5), (1, 5)]
    (error,) = errors
    assert isinstance(error, UnreadableImageError)
    assert 'b.jpg' in str(error)
    assert '\n' not in str(error)
    assert list(small_extractor.extract(paths[1:2], 2, errors.append)) == []


def test_unreadable_images_raise_an_error_by_default(small_extractor, tmp_path):
    with pytest.raises(UnreadableImageError, match=r'b\.jpg'):
        list(small_extractor.extract([tmp_path / 'b.jpg'], 2))


def test_other_exceptions_in_threads_reach_the_caller(small_extractor, tmp_path, monkeypatch):
    monkeypatch.setattr('lib.features.extractor.prepare_image', lambda *args: 1 / 0)
    errors = []
    with pytest.raises(ZeroDivisionError):
        list(small_extractor.extract([write_image(tmp_path / 'a.jpg')], 2, errors.append))
    assert errors == []


@pytest.mark.parametrize('negative_slope', [0, 0.5], ids=['relu', 'leaky relu'])
def test_an_in_place_layer_before_a_fully_connected_one_is_applied_once(
    device, tmp_path, negative_slope
):
    writer = caffemodels.Writer()
    writer.convolution('conv', 'data', 3, 2, 3)
    writer.net.layer[-1].relu_param.negative_slope = negative_slope
    writer.inner_product('fc', 'conv', 72, 5)
    path = writer.write(tmp_path / 'net.caffemodel')
    source = dataclasses.replace(SOURCE, layer='fc', image_size=8)
    pixels = numpy.random.RandomState(0).randn(3, 3, 8, 8).astype('float32')
    with chainer.using_config('train', False):
        (expected,) = CaffeFunction(str(path))(inputs={'data': pixels}, outputs=['fc'])
    features = to_cpu(make_extractor(path, source, device, 2)(pixels))
    numpy.testing.assert_allclose(features, expected.array, rtol=1e-4, atol=1e-4)


def test_an_image_size_the_network_does_not_take_is_rejected(device, vgg19):
    source = dataclasses.replace(SOURCE, image_size=227 + 32)
    with pytest.raises(InputError, match='259') as info:
        extract(make_extractor(vgg19, source, device, 1), random_images(1))
    assert info.value.option == 'image_size'


def test_an_image_size_too_small_for_the_network_is_rejected(device, tmp_path):
    path = caffemodels.write_googlenet(tmp_path / 'googlenet.caffemodel')
    source = dataclasses.replace(SOURCE, layer='pool5/7x7_s1', image_size=32)
    with pytest.raises(InputError, match='32') as info:
        extract(make_extractor(path, source, device, 1), random_images(1))
    assert info.value.option == 'image_size'


def test_the_error_for_an_unknown_layer_lists_the_layers(vgg19):
    source = dataclasses.replace(SOURCE, layer='pool10')
    with pytest.raises(InputError, match=r'pool10.*fc7, fc8, prob') as info:
        make_extractor(vgg19, source, CPU, 1)
    assert info.value.option == 'layer'


@pytest.mark.parametrize('content', [b'', b'not a network', b'\x00' * 99])
def test_files_that_are_not_caffemodels_are_rejected(tmp_path, content):
    path = tmp_path / 'net.caffemodel'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'net\.caffemodel'):
        make_extractor(path, SOURCE, CPU, 1)


def test_truncated_caffemodels_are_rejected(vgg19, tmp_path):
    path = tmp_path / 'truncated.caffemodel'
    whole = vgg19.read_bytes()
    for length in len(whole) // 3, len(whole) - 1:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r'truncated\.caffemodel'):
            make_extractor(path, SOURCE, CPU, 1)


def test_features_that_are_not_finite_are_rejected(tmp_path):
    writer = caffemodels.Writer()
    writer.inner_product('fc', 'data', 192, 5)
    writer.net.layer[0].blobs[0].data[:] = [3e38] * 960
    path = writer.write(tmp_path / 'net.caffemodel')
    extractor = make_extractor(path, dataclasses.replace(SOURCE, layer='fc', image_size=8), CPU)
    with warnings.catch_warnings(), pytest.raises(InputError, match='NaN or infinite'):
        warnings.simplefilter('error')
        extractor(numpy.ones((3, 3, 8, 8), 'float32'))


def test_layers_may_change_images_in_place(tmp_path):
    writer = caffemodels.Writer()
    writer.relu('data')
    path = writer.write(tmp_path / 'net.caffemodel')
    pixels = numpy.random.RandomState(0).randn(3, 3, 8, 8).astype('float32')
    source = dataclasses.replace(SOURCE, layer='data', image_size=8)
    features = make_extractor(path, source, CPU, 2)(pixels)
    numpy.testing.assert_array_equal(features, numpy.maximum(pixels, 0).reshape(3, -1))
