"""Damaged caffemodels either work or are rejected by an InputError that names the file."""

import dataclasses
import random
import warnings

import chainer
import numpy
import pytest

from lib.errors import InputError
from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import FeatureSource
from tests.helpers.caffemodels import Writer
from tests.helpers.samples import write_image, write_json
from tests.helpers.scripts import run_script

SOURCE = FeatureSource('net.caffemodel', 'fc', 8, [1, 2, 3], 'warp')
CPU = chainer.get_device('@numpy')
PIXELS = numpy.random.RandomState(0).randn(3, 3, 8, 8).astype('float32')
INTEGERS = [0, 1, -1, 2, 3, 7, 10**6, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -1.0, 0.5, 1e-45, 3e38, -3e38, float('inf'), float('nan')]
NAMES = ['', 'forwards', 'params', 'xp', 'W', 'a/b', 'data', 'conv', 'pool', 'fc', '\x1b']


def small_network(old_format=False):
    """Returns the writer of a network of many types of layers for images of 8 x 8 pixels."""
    writer = Writer(old_format)
    writer.layer('DATA', 'data', [], ['data', 'label'])
    writer.convolution('conv', 'data', 3, 4, 3, pad=1)
    writer.layer('LRN', 'norm', 'conv', 'norm')
    writer.pool('pool', 'norm', 2, 2)
    branches = [
        writer.convolution('1x1', 'pool', 4, 2, 1),
        writer.convolution('3x3', 'pool', 4, 2, 3, pad=1),
    ]
    writer.layer('CONCAT', 'concat', branches, 'concat')
    if not old_format:
        _add_newer_layers(writer)
    writer.pool('average', 'concat', 2, 2, average=True)
    writer.inner_product('fc', 'average', 4 * 2 * 2, 5)
    writer.layer('DROPOUT', 'drop', 'fc', 'fc')
    writer.layer('SOFTMAX', 'prob', 'fc', 'prob')
    return writer


def _add_newer_layers(writer):
    def add(layer_type, bottoms, tops):
        return writer.net.layer.add(name=layer_type, type=layer_type, bottom=bottoms, top=tops)

    norm = add('BatchNorm', ['concat'], ['concat'])
    writer._add_blobs(norm, (4,), (4,), (1,))
    for blob in norm.blobs[1:]:
        blob.data[:] = [1.5] * len(blob.data)
    scale = add('Scale', ['concat'], ['concat'])
    scale.scale_param.bias_term = True
    writer._add_blobs(scale, (4,), (4,))
    add('Split', ['concat'], ['a', 'b'])
    add('Eltwise', ['a', 'b'], ['sum']).eltwise_param.coeff.extend([1, 0.5])
    add('Slice', ['sum'], ['c', 'd']).slice_param.slice_point.append(1)
    writer.layer('CONCAT', 'again', ['c', 'd'], 'again')
    deconvolution = add('Deconvolution', ['again'], ['twice'])
    deconvolution.convolution_param.kernel_size.append(2)
    deconvolution.convolution_param.stride.append(2)
    writer._add_blobs(deconvolution, (4, 4, 2, 2), (4,))
    writer.pool('half', 'twice', 2, 2)
    add('Reshape', ['half'], ['concat']).reshape_param.shape.dim.extend([-1, 4, 4, 4])


def extract(path, layer='fc'):
    return FeatureExtractor(path, dataclasses.replace(SOURCE, layer=layer), CPU, 2)(PIXELS)


def random_value(rng, field):
    if field.type == field.TYPE_STRING:
        return rng.choice(NAMES)
    if field.type == field.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.type == field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    return rng.choice(INTEGERS)


def change_field(rng, message):
    """Sets, adds or removes a random field of a message or of one inside it."""
    present = [field for field, _ in message.ListFields()]
    field = rng.choice(present if present and rng.random() < 0.8 else message.DESCRIPTOR.fields)
    value = getattr(message, field.name)
    is_repeated = hasattr(value, 'append')
    if is_repeated and len(value) and rng.random() < 0.4:
        del value[rng.randrange(len(value)) :]
    elif field.type == field.TYPE_MESSAGE:
        if is_repeated:
            value = rng.choice(value) if len(value) and rng.random() < 0.9 else value.add()
        change_field(rng, value)
    elif is_repeated and len(value) and rng.random() < 0.5:
        value[rng.randrange(len(value))] = random_value(rng, field)
    elif is_repeated:
        value.append(random_value(rng, field))
    else:
        setattr(message, field.name, random_value(rng, field))


def change_layers(rng, layers):
    """Removes, repeats, exchanges or changes layers."""
    index, other = rng.randrange(len(layers)), rng.choice(layers)
    kind = rng.random()
    if kind < 0.05:
        del layers[index]
    elif kind < 0.1:
        layers.add().CopyFrom(other)
    elif kind < 0.15:
        layers[index].CopyFrom(other)
    else:
        change_field(rng, layers[index])


def change_bytes(rng, content):
    start, length = rng.randrange(len(content)), rng.choice([0, 1, 1, 1, 5, 50])
    inserted = rng.randbytes(rng.choice([0, 1, 1, 1, 5]))
    return content[:start] + inserted + content[start + length :]


def mutated(rng, writer):
    """Returns the bytes of a network with a few changes."""
    net = type(writer.net)()
    net.CopyFrom(writer.net)
    layers = net.layers if writer.old_format else net.layer
    if rng.random() < 0.3:
        return change_bytes(rng, net.SerializeToString())
    for _ in range(rng.choice([1, 1, 2, 4])):
        try:
            change_layers(rng, layers)
        except ValueError:  # a value that the field cannot have
            continue
    return net.SerializeToString()


def test_mutated_networks_work_or_are_rejected(tmp_path):
    rng = random.Random(0)
    path = tmp_path / 'net.caffemodel'
    networks = [small_network(old_format) for old_format in (False, True)]
    n_rejected = 0
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for number in range(400):
            path.write_bytes(mutated(rng, networks[number % 2]))
            try:
                features = extract(path)
            except InputError as error:
                assert 'net.caffemodel' in str(error)
                assert '\n' not in str(error)
                n_rejected += 1
            else:
                assert len(features) == 3
                assert numpy.isfinite(features).all()
    assert 100 < n_rejected < 350


def assert_rejected(writer, tmp_path, problem, layer='fc'):
    path = writer.write(tmp_path / 'net.caffemodel')
    with pytest.raises(InputError, match=problem) as info:
        extract(path, layer)
    assert str(info.value).startswith(f'{path}: ')


def test_layers_of_types_that_are_not_supported_are_rejected_if_features_depend_on_them(tmp_path):
    for old_format in False, True:
        writer = small_network(old_format)
        expected = extract(writer.write(tmp_path / 'net.caffemodel'))
        layers = writer.net.layers if old_format else writer.net.layer
        accuracy = writer.layer('SOFTMAX', 'accuracy', ['fc', 'label'], 'accuracy')
        accuracy.type = accuracy.ACCURACY if old_format else 'Accuracy'
        features = extract(writer.write(tmp_path / 'net.caffemodel'))
        numpy.testing.assert_array_equal(features, expected)
        (relu,) = (layer for layer in layers if layer.name == 'relu_conv')
        relu.type = relu.TANH if old_format else 'PReLU'
        problem = 'TANH' if old_format else 'PReLU'
        assert_rejected(writer, tmp_path, f"layer 'relu_conv' is of the type {problem}")


def test_layers_that_are_not_computed_from_images_alone_are_rejected(tmp_path):
    writer = small_network()
    writer.layer('CONCAT', 'both', ['fc', 'data2'], 'both')
    assert_rejected(writer, tmp_path, "'both' is computed from 'data', 'data2'", layer='both')


def test_blobs_that_are_used_before_they_are_computed_are_rejected(tmp_path):
    writer = Writer()
    writer.inner_product('fc', 'conv', 4 * 6 * 6, 5)
    writer.convolution('conv', 'data', 3, 4, 3)
    assert_rejected(writer, tmp_path, "'conv' is used before the layer that computes it")


def test_features_that_are_not_finite_are_rejected(tmp_path):
    writer = Writer()
    writer.inner_product('fc', 'data', 192, 5)
    writer.net.layer[0].blobs[0].data[:] = [3e38] * 960
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert_rejected(writer, tmp_path, 'NaN or infinite')


def test_networks_that_mix_images_are_rejected(tmp_path):
    writer = Writer()
    layer = writer.net.layer.add(name='fc', type='Concat', bottom=['data', 'data'], top=['fc'])
    layer.concat_param.axis = 0
    assert_rejected(writer, tmp_path, "layer 'fc' mixes images")


def test_layers_may_change_images_in_place(tmp_path):
    writer = Writer()
    writer.relu('data')
    expected = numpy.maximum(PIXELS, 0).reshape(3, -1)
    path = writer.write(tmp_path / 'net.caffemodel')
    numpy.testing.assert_array_equal(extract(path, 'data'), expected)


def test_a_damaged_caffemodel_ends_the_script_with_one_line(tmp_path):
    writer = small_network()
    writer.net.layer[1].convolution_param.group = 0
    network = writer.write(tmp_path / 'net.caffemodel')
    write_image(tmp_path / 'a.png')
    caption = {'raw': 'a dog', 'tokens': ['a', 'dog']}
    image = {'imgid': 0, 'filename': 'a.png', 'split': 'train', 'sentences': [caption]}
    dataset = write_json(tmp_path / 'dataset.json', {'images': [image]})
    args = ['--dataset', dataset, '--image-root', tmp_path, '-o', tmp_path / 'features.h5']
    process = run_script('extract_features.py', *args, '-i', network, '--layer', 'fc')
    assert process.returncode == 2
    assert process.stderr == f"error: {network}: layer 'conv' has 4 channels in 0 groups\n"
