"""Small ONNX graphs of every kind, and real networks where they are."""

import chainer
import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lib.errors import InputError, InputWarning
from lib.features.cnn import CNN
from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import FeatureSource
from tests.helpers.real_data import real

CPU = chainer.get_device('@numpy')
RNG = numpy.random.RandomState(0)
KERNEL = RNG.randn(4, 3, 1, 1).astype('float32')
WEIGHTS = RNG.randn(5, 4).astype('float32')
IMAGES = RNG.randn(3, 3, 6, 6).astype('float32')
MAPS = numpy.einsum('oc,nchw->nohw', KERNEL[:, :, 0, 0], IMAGES)
POOLED = MAPS.mean(axis=(2, 3))


def write(path, batch='N', size=6, channels_last=False, outputs=('logits',), initializers=()):
    """Writes a network: a convolution, global average pooling and a fully connected layer."""
    shape = [batch, size, size, 3] if channels_last else [batch, 3, size, size]
    nodes = [
        helper.make_node('Conv', ['x', 'kernel'], ['maps']),
        helper.make_node('GlobalAveragePool', ['maps'], ['pool']),
        helper.make_node('Flatten', ['pool'], ['features']),
        helper.make_node('Gemm', ['features', 'weights'], ['logits'], transB=1),
    ]
    if channels_last:
        nodes[0].input[0] = 'first'
        nodes.insert(0, helper.make_node('Transpose', ['x'], ['first'], perm=[0, 3, 1, 2]))
        nodes.append(helper.make_node('Transpose', ['maps'], ['maps last'], perm=[0, 2, 3, 1]))
    sizes = {'logits': 5, 'features': 4}
    graph = helper.make_graph(
        nodes,
        'net',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, sizes[name]])
            for name in outputs
        ],
        [numpy_helper.from_array(KERNEL, 'kernel'), numpy_helper.from_array(WEIGHTS, 'weights')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, path)
    return str(path)


def compute(path, layer=None, images=IMAGES, **options):
    cnn = CNN(path, layer, options.get('image_size'), CPU)
    return cnn, cnn(images)


def assert_close(actual, expected):
    numpy.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('batch', ['N', 1, 2])
@pytest.mark.parametrize('channels_last', [False, True])
def test_layout_batch_and_size_come_from_the_graph(tmp_path, batch, channels_last):
    cnn, (logits,) = compute(write(tmp_path / 'net.onnx', batch, channels_last=channels_last))
    assert (cnn.image_size, cnn.has_channels_last) == (6, channels_last)
    assert_close(logits, POOLED @ WEIGHTS.T)


def test_the_default_layer_is_the_only_vector_or_what_is_last_connected_fully(tmp_path):
    assert compute(write(tmp_path / 'a.onnx'))[0].layers == ['logits']
    path = write(tmp_path / 'b.onnx', outputs=('features', 'logits'))
    cnn, (features,) = compute(path)
    assert cnn.layers == ['features']
    assert_close(features, POOLED)


def test_layers_may_be_any_tensors(tmp_path):
    _, (maps, logits) = compute(write(tmp_path / 'net.onnx'), 'maps+logits')
    assert_close(maps, MAPS)
    assert_close(logits, POOLED @ WEIGHTS.T)
    with pytest.raises(InputError, match='fc7: .*net.onnx has no such layer; try logits, features'):
        compute(write(tmp_path / 'net.onnx'), 'fc7')


def test_sizes_that_the_graph_leaves_open_may_be_given(tmp_path):
    path = write(tmp_path / 'net.onnx', size=None)
    assert compute(path, image_size=6)[0].image_size == 6
    assert compute(path, images=numpy.ones((1, 3, 224, 224), 'f'))[0].image_size == 224
    with pytest.raises(InputError, match='7: .*net.onnx takes images of 6') as raised:
        compute(write(tmp_path / 'net.onnx'), image_size=7)
    assert raised.value.option == 'image_size'


def extract(path, pool, layer, images=IMAGES):
    cnn = CNN(path, layer, None, CPU)
    source = FeatureSource('net.onnx', layer, 6, [0, 0, 0], 'warp', pool)
    return FeatureExtractor(cnn, source, CPU, batch_size=2)(images)


@pytest.mark.parametrize('channels_last', [False, True])
def test_maps_are_pooled_in_either_layout(tmp_path, channels_last):
    path = write(tmp_path / 'net.onnx', channels_last=channels_last)
    layer = 'maps last' if channels_last else 'maps'
    assert_close(extract(path, 'average', layer), POOLED)
    assert_close(extract(path, 'max', layer), MAPS.max(axis=(2, 3)))
    assert extract(path, 'none', layer).shape == (3, 4 * 36)
    with pytest.raises(InputError, match='first: maps.* does not have tokens'):
        extract(path, 'first', layer)


def test_tokens_are_pooled_as_of_a_transformer(tmp_path):
    path = write(tmp_path / 'net.onnx')
    model = onnx.load(path)
    shape = numpy_helper.from_array(numpy.array([0, 4, 36]), 'shape')
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node('Reshape', ['maps', 'shape'], ['rows']))
    model.graph.node.append(helper.make_node('Transpose', ['rows'], ['tokens'], perm=[0, 2, 1]))
    onnx.save(model, path)
    tokens = MAPS.reshape(3, 4, 36).transpose(0, 2, 1)
    assert_close(extract(path, 'first', 'tokens'), tokens[:, 0])
    assert_close(extract(path, 'average', 'tokens'), tokens.mean(axis=1))


def test_weights_in_another_file_are_refused(tmp_path):
    model = onnx.load(write(tmp_path / 'whole.onnx'))
    onnx.save(
        model,
        tmp_path / 'net.onnx',
        save_as_external_data=True,
        location='weights.bin',
        size_threshold=0,
    )
    with pytest.raises(InputError, match='net.onnx: has weights in another file'):
        compute(str(tmp_path / 'net.onnx'))


def test_files_that_are_cut_short_are_refused(tmp_path):
    write(tmp_path / 'net.onnx')
    content = (tmp_path / 'net.onnx').read_bytes()
    for length in range(0, len(content) - 1, 7):
        (tmp_path / 'net.onnx').write_bytes(content[:length])
        with pytest.raises(InputError, match=r'net\.onnx'):
            compute(str(tmp_path / 'net.onnx'))
    with pytest.raises(InputError, match='none.onnx: No such file'):
        compute(str(tmp_path / 'none.onnx'))


def test_networks_of_something_else_are_refused(tmp_path):
    model = onnx.load(write(tmp_path / 'net.onnx'))
    del model.graph.input[0].type.tensor_type.shape.dim[3]
    onnx.save(model, tmp_path / 'net.onnx')
    with pytest.raises(InputError, match='its input "x" is not images in float32'):
        compute(str(tmp_path / 'net.onnx'))
    model.graph.input.append(helper.make_tensor_value_info('y', TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / 'net.onnx')
    with pytest.raises(InputError, match='takes 2 inputs, not images alone'):
        compute(str(tmp_path / 'net.onnx'))


def test_the_error_for_the_layer_of_another_network_names_that(tmp_path):
    trained_on = FeatureSource('other.onnx', 'pool5', 6, [0, 0, 0], 'warp')
    with pytest.raises(InputError, match=r'pool5: .*; the model was trained with other\.onnx'):
        FeatureExtractor.load(write(tmp_path / 'net.onnx'), CPU, trained_on)


def test_the_preparation_is_noted_where_it_is_assumed(tmp_path):
    path = write(tmp_path / 'net.onnx')
    with pytest.warns(InputWarning, match='net.onnx: images are prepared as for imagenet'):
        source = FeatureExtractor.load(path, CPU).source
    assert (source.layer, source.image_size, source.channels) == ('logits', 6, 'RGB')
    assert FeatureSource.from_json(FeatureSource.to_json(source)) == source


def test_efficientnet_computes_the_features_that_another_program_has():
    with numpy.load(real('efficientnet', 'photos.npz')) as file:
        names, expected = file['filenames'][:8], file['features'][:8]
    path = real('efficientnet', 'efficientnet_lite2.onnx')
    extractor = FeatureExtractor.load(path, CPU, preparation='efficientnet-lite')
    assert (extractor.source.layer, extractor.source.image_size) == ('pool', 260)
    photos = [real('flickr8k', 'photos', name) for name in names]
    ((_, features),) = extractor.extract(photos, len(photos))
    assert abs(features - expected).max() < 0.02 * abs(expected).max()
    pixels = [
        (numpy.asarray(Image.open(photo).convert('RGB').resize((260, 260)), 'f') - 127) / 128
        for photo in photos
    ]
    assert_close(extractor([image.transpose(2, 0, 1) for image in pixels]), expected)
