"""Checks that layers that cannot be built or computed are named."""

import chainer
import numpy
import pytest

from models.caffe.caffemodel import Caffemodel
from models.caffe.validation import LayerError
from tests.helpers.caffemodels import Writer

IMAGES = numpy.random.RandomState(0).randn(2, 3, 8, 8).astype('float32')
CONVOLUTION = 'Convolution', (4, 3, 3, 3), (4,)
KERNEL = {'convolution__kernel_size': [3]}


def add_layer(writer, layer_type, *shapes, bottoms=('data',), tops=('x',), **param):
    """Adds a layer of the new format, with blobs of some shapes, and returns its message."""
    layer = writer.net.layer.add(name='odd', type=layer_type, bottom=bottoms, top=tops)
    writer._add_blobs(layer, *shapes)
    for name, value in param.items():
        message, field = name.split('__')
        message = getattr(layer, f'{message}_param')
        if isinstance(value, list):
            getattr(message, field).extend(value)
        else:
            setattr(message, field, value)
    return layer


def load_and_compute(writer, tmp_path):
    network = Caffemodel(writer.write(tmp_path / 'net.caffemodel'))
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        (output,) = network(inputs={'data': IMAGES}, outputs=['x'])
    return output.array


@pytest.mark.parametrize(
    'layer, param, problem',
    [
        (('PReLU', (3,)), {}, 'the type PReLU is not supported'),
        (CONVOLUTION, KERNEL | {'convolution__dilation': [2]}, 'dilation is not supported'),
        (CONVOLUTION, KERNEL | {'convolution__axis': 2}, 'axis 2 is not supported'),
        (CONVOLUTION, {'convolution__kernel_size': [5]}, 'cannot be built: .*108'),
        (CONVOLUTION, KERNEL | {'convolution__group': 2}, 'does not take inputs of 3 x 8 x 8'),
        (CONVOLUTION, KERNEL | {'convolution__num_output': 5}, '5 outputs, but weights for 4'),
        (CONVOLUTION[:2], KERNEL, 'it has no weights, or no biases'),
        (('Convolution', (4, 3, 3, 3), (3,)), KERNEL, 'it has 3 biases for 4 outputs'),
        (('Convolution', (4, 5, 3, 3), (4,)), KERNEL, 'does not take inputs of 3 x 8 x 8'),
        (('InnerProduct', (5, 192), (5,)), {'inner_product__num_output': 6}, '6 outputs'),
        (('InnerProduct', (5, 191), (5,)), {}, 'does not take inputs of 3 x 8 x 8'),
        (('InnerProduct', (5, 192), (5,)), {'inner_product__axis': 2}, 'axis'),
        (('Pooling',), {'pooling__kernel_size': 99}, 'does not take inputs of 3 x 8 x 8'),
        (('Pooling',), {'pooling__kernel_size': 2, 'pooling__pool': 2}, 'Stochastic'),
        (('LRN',), {'lrn__norm_region': 1}, 'Within-channel'),
        (('BatchNorm',), {}, 'cannot be built'),
        (('BatchNorm', (2,), (2,)), {'batch_norm__eps': 9.0}, 'does not take'),
        (('Scale', (4,)), {}, 'does not take'),
        (('Reshape',), {'reshape__axis': 1}, 'axis, num_axes'),
        (('Softmax',), {'softmax__axis': 2}, 'Softmax'),
    ],
)
def test_layers_that_cannot_be_built_or_computed_are_named(tmp_path, layer, param, problem):
    writer = Writer()
    add_layer(writer, *layer, **param)
    with pytest.raises(LayerError, match=f"^layer 'odd' .*{problem}"):
        load_and_compute(writer, tmp_path)


@pytest.mark.parametrize('layer_type', ['Reshape', 'Python'])
@pytest.mark.parametrize('top', ['y', 'x'])
def test_layers_after_the_wanted_ones_may_be_anything(tmp_path, layer_type, top):
    writer = Writer()
    writer.pool('x', 'data', 2, 2)
    expected = load_and_compute(writer, tmp_path)
    layer = add_layer(writer, layer_type, bottoms=['x'], tops=[top])
    layer.reshape_param.shape.dim.extend([0, -1])  # as in many networks, but not in Chainer
    if top == 'y':
        numpy.testing.assert_array_equal(load_and_compute(writer, tmp_path), expected)
    else:
        with pytest.raises(LayerError, match="^layer 'odd' "):
            load_and_compute(writer, tmp_path)


@pytest.mark.parametrize('field', ['data', 'double_data'])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -1e300])
def test_weights_must_be_finite(tmp_path, field, value):
    writer = Writer()
    blob = add_layer(writer, 'InnerProduct', (5, 192), (5,)).blobs[0]
    values = [*blob.data]
    values[500] = numpy.float32(value) if field == 'data' and abs(value) < 1e30 else value
    del blob.data[:]
    getattr(blob, field).extend(values)
    with pytest.raises(LayerError, match="^layer 'odd' .*NaN"):
        load_and_compute(writer, tmp_path)


def test_gradients_in_place_of_weights_are_no_weights(tmp_path):
    writer = Writer()
    blob = add_layer(writer, 'InnerProduct', (5, 192), (5,)).blobs[0]
    blob.diff.extend(blob.data)
    del blob.data[:]
    with pytest.raises(LayerError, match="^layer 'odd' .* 0 weights for the shape 5 x 192"):
        load_and_compute(writer, tmp_path)
