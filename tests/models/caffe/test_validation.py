"""Checks that layers that cannot be built or computed are named, before they are."""

import chainer
import numpy
import pytest

from models.caffe.caffemodel import Caffemodel
from models.caffe.validation import LayerError
from tests.helpers.caffemodels import Writer

IMAGES = numpy.random.RandomState(0).randn(2, 3, 8, 8).astype('float32')


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


CONVOLUTION = 'Convolution', (4, 3, 3, 3), (4,)
KERNEL = {'convolution__kernel_size': [3]}


@pytest.mark.parametrize(
    'layer, param, problem',
    [
        (CONVOLUTION, {'convolution__kernel_size': [5]}, '4 x 3 x 3 x 3 for kernels of 5 x 5'),
        (CONVOLUTION, {'convolution__kernel_size': [3, 3, 3]}, '3 kernel sizes'),
        (CONVOLUTION, {}, '0 kernel sizes'),
        (CONVOLUTION, {'convolution__kernel_h': 3}, 'kernel or a stride of 0'),
        (CONVOLUTION, KERNEL | {'convolution__stride': [0]}, 'stride of 0'),
        (CONVOLUTION, KERNEL | {'convolution__stride_h': 2}, 'stride of 0'),
        (CONVOLUTION, KERNEL | {'convolution__group': 0}, '0 groups'),
        (CONVOLUTION, KERNEL | {'convolution__group': 3}, '3 groups'),
        (CONVOLUTION, KERNEL | {'convolution__group': 2}, 'does not take'),
        (CONVOLUTION, KERNEL | {'convolution__num_output': 2**31}, '2147483648 outputs'),
        (CONVOLUTION, KERNEL | {'convolution__dilation': [2]}, 'dilated'),
        (CONVOLUTION, KERNEL | {'convolution__pad': [10**6]}, 'would compute'),
        (CONVOLUTION, KERNEL | {'convolution__pad': [2**32 - 1]}, 'would compute'),
        (CONVOLUTION[:2], KERNEL, 'too few'),
        (('Convolution', (4, 3, 3, 3), (3,)), KERNEL, '3 values in blob 1, not 4'),
        (('Convolution', (4, 3, 9), (4,)), KERNEL, '4 x 3 x 9'),
        (('Convolution', (4, 5, 3, 3), (4,)), KERNEL, 'does not take inputs of 3 x 8 x 8'),
        (
            ('Convolution', (1 << 15, 1, 1, 1), (1 << 15,)),
            {'convolution__kernel_size': [1], 'convolution__group': 1 << 15},
            'too many groups',
        ),
        (
            ('Deconvolution', (3, 2, 3, 3), (2,)),
            KERNEL | {'convolution__stride': [10**6]},
            'would compute',
        ),
        (('InnerProduct', (5, 192), (5,)), {'inner_product__num_output': 6}, '6 outputs'),
        (('InnerProduct', (5, 192), (6,)), {}, '6 values in blob 1, not 5'),
        (('InnerProduct', (960,), (5,)), {}, '960'),
        (('InnerProduct', (5, 191), (5,)), {}, 'does not take inputs of 3 x 8 x 8'),
        (('InnerProduct', (5, 192), (5,)), {'inner_product__axis': 2}, 'axis'),
        (('Pooling',), {}, 'kernel or a stride of 0'),
        (('Pooling',), {'pooling__kernel_size': 2, 'pooling__stride': 0}, 'stride of 0'),
        (('Pooling',), {'pooling__kernel_size': 2, 'pooling__pad': 10**6}, 'pads'),
        (('Pooling',), {'pooling__kernel_size': 10**6, 'pooling__pad': 10**6 - 1}, 'would compute'),
        (('Pooling',), {'pooling__kernel_size': 10**6, 'pooling__stride': 10**6}, 'would compute'),
        (('Pooling',), {'pooling__kernel_size': 2, 'pooling__stride': 10**6}, 'would compute'),
        (('Pooling',), {'pooling__kernel_size': 99}, 'does not take inputs of 3 x 8 x 8'),
        (('Pooling',), {'pooling__kernel_size': 2, 'pooling__pool': 2}, 'Stochastic'),
        (('LRN',), {'lrn__local_size': 4}, 'odd'),
        (('LRN',), {'lrn__local_size': 2**31 + 1}, 'odd'),
        (('LRN',), {'lrn__k': 0.0}, 'k 0'),
        (('LRN',), {'lrn__alpha': float('nan')}, 'alpha nan'),
        (('BatchNorm',), {}, 'too few'),
        (('BatchNorm', (3,), (2,)), {}, '2 values in blob 1, not 3'),
        (('BatchNorm', (3,), (3,)), {'batch_norm__eps': -9.0}, 'variances'),
        (('BatchNorm', (2,), (2,)), {'batch_norm__eps': 9.0}, 'does not take'),
        (('Scale',), {}, 'too few'),
        (('Scale', (3,)), {'scale__bias_term': True}, 'too few'),
        (('Scale', (3,)), {'scale__axis': 2**31 - 1}, 'axis 2147483647'),
        (('Scale', (3,)), {'scale__axis': -1}, 'axis -1'),
        (('Scale', (4,)), {}, 'does not take'),
        (('Reshape',), {}, 'shape'),
        (('Reshape',), {'reshape__dim': [-1, -1]}, '-1 x -1'),
        (('Reshape',), {'reshape__dim': [5, -1]}, 'does not take'),
        (('Softmax',), {'softmax__axis': 2}, 'Softmax'),
        (('Concat',), {'concat__axis': 9}, 'does not take'),
    ],
)
def test_impossible_layers_are_named(tmp_path, layer, param, problem):
    writer = Writer()
    dims = param.pop('reshape__dim', None)
    message = add_layer(writer, *layer, **param)
    if dims:
        message.reshape_param.shape.dim.extend(dims)
    with pytest.raises(LayerError, match=f"^layer 'odd' .*{problem}"):
        load_and_compute(writer, tmp_path)


@pytest.mark.parametrize(
    'layer_type, bottoms, tops, param, problem',
    [
        ('ReLU', [], ['x'], {}, '0 bottoms'),
        ('ReLU', ['data', 'data'], ['x'], {}, '2 bottoms'),
        ('ReLU', ['data'], ['x', 'y'], {}, '2 tops'),
        ('Split', [], ['x'], {}, '0 bottoms'),
        ('Slice', ['data'], ['x', 'x'], {}, 'same top twice'),
        ('Slice', ['data'], ['x', 'y'], {}, 'does not take'),
        ('Slice', ['data'], ['x', 'y'], {'slice__slice_point': [1, 2]}, 'number of tops'),
        ('Slice', ['data'], ['x', 'y', 'z'], {'slice__slice_point': [2, 1]}, 'empty'),
        ('Slice', ['data'], ['x', 'y'], {'slice__slice_point': [3]}, 'does not take'),
        ('Slice', ['data'], ['x'], {'slice__axis': -9}, 'does not take'),
        ('Concat', [], ['x'], {}, '0 bottoms'),
        ('Eltwise', ['data', 'data'], ['x'], {'eltwise__coeff': [1.0]}, '1 coefficients'),
        ('Eltwise', ['data', 'pool'], ['x'], {}, '3 x 8 x 8, 3 x 4 x 4'),
        ('SoftmaxWithLoss', ['data'], ['x'], {}, '1 bottoms'),
    ],
)
def test_wrong_connections_are_named(tmp_path, layer_type, bottoms, tops, param, problem):
    writer = Writer()
    writer.pool('pool', 'data', 2, 2)
    add_layer(writer, layer_type, bottoms=bottoms, tops=tops, **param)
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


@pytest.mark.parametrize('dims', [[], [2**31, 2**31], [-5, -192], [0, 192], [1] * 33, [5, 191]])
def test_shapes_must_be_those_of_the_weights(tmp_path, dims):
    writer = Writer()
    shape = add_layer(writer, 'InnerProduct', (5, 192), (5,)).blobs[0].shape
    del shape.dim[:]
    shape.dim.extend(dims)
    with pytest.raises(LayerError, match="^layer 'odd' has .*(values|axes)"):
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


@pytest.mark.parametrize('factor', [0, -1, float('nan')])
def test_batch_normalization_needs_a_positive_factor(tmp_path, factor):
    writer = Writer()
    layer = add_layer(writer, 'BatchNorm', (3,), (3,), (1,), batch_norm__eps=9.0)
    layer.blobs[2].data[0] = factor
    with pytest.raises(LayerError, match="^layer 'odd' "):
        load_and_compute(writer, tmp_path)


def test_gradients_in_place_of_weights_are_no_weights(tmp_path):
    writer = Writer()
    blob = add_layer(writer, 'InnerProduct', (5, 192), (5,)).blobs[0]
    blob.diff.extend(blob.data)
    del blob.data[:]
    with pytest.raises(
        LayerError, match="^layer 'odd' has 0 values in a blob of the shape 5 x 192"
    ):
        load_and_compute(writer, tmp_path)


def test_blobs_are_held_only_until_their_last_use(tmp_path, monkeypatch):
    chain, wide = Writer(), Writer()
    for number in range(20):
        chain.layer('RELU', f'{number}', f'{number - 1}' if number else 'data', f'{number}')
        wide.layer('RELU', f'{number}', 'data', f'{number}')
    chain.layer('RELU', 'x', '19', 'x')
    wide.layer('CONCAT', 'x', [f'{number}' for number in range(20)], 'x')
    monkeypatch.setattr('models.caffe.caffemodel.MAX_VALUES', 3 * IMAGES[0].size)
    numpy.testing.assert_array_equal(load_and_compute(chain, tmp_path), numpy.maximum(IMAGES, 0))
    with pytest.raises(LayerError, match='at once'):
        load_and_compute(wide, tmp_path)
