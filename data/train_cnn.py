"""Trains a small CNN to recognize the shapes in the demo's scenes; writes a caffemodel.

It plays the role that VGG19, trained on ImageNet, plays for real images. Its layer prob gives,
for each cell of a 3 x 3 grid, the probability of each color, kind and size of shape.
"""

import json
import os
import tempfile

import lib  # noqa: F401  patches Chainer

# isort: split
import chainer
import chainer.functions as F
import numpy
import tqdm
from chainer.links.caffe import CaffeFunction
from chainer.links.caffe.caffe_function import caffe_pb

from data.draw_scenes import COLORS, IMAGE_SIZE, RADII, SHAPES
from lib.cli.parser import ArgumentParser, add_seed_flag, number
from lib.cli.run import run_main
from lib.features.images import prepare_image, read_image
from lib.files.output import open_output

GRID = 3
# Name, output channels, kernel size, stride. Batch normalization and a ReLU follow each of
# them, and 2 x 2 max pooling all but the last.
CONVOLUTIONS = (('conv1', 24, 7, 4), ('conv2', 48, 3, 1), ('conv3', 64, 3, 1), ('conv4', 48, 3, 1))
LEARNING_RATE = 3e-3
# What is predicted for each cell; class 0 of each attribute stands for an empty cell.
ATTRIBUTES = {'color': list(COLORS), 'kind': list(SHAPES), 'size': list(RADII)}
N_CLASSES = [1 + len(values) for values in ATTRIBUTES.values()]


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument('scenes', metavar='FOLDER', help='folder that draw_scenes.py wrote')
    parser.add_argument('-o', '--output', required=True, metavar='FILE', help='caffemodel to write')
    parser.add_argument(
        '--mean',
        type=float,
        nargs=3,
        default=[220, 220, 220],
        metavar=('B', 'G', 'R'),
        help='values subtracted from blue, green and red',
    )
    parser.add_argument(
        '--epoch', type=number(int, low=1), default=1, metavar='N', help='number of epochs'
    )
    parser.add_argument(
        '--batch-size', type=number(int, low=1), default=8, metavar='N', help='scenes per iteration'
    )
    add_seed_flag(parser, 'weights and the order of scenes')
    return parser.parse_args()


def main():
    args = parse_args()
    numpy.random.seed(args.seed)
    with open(os.path.join(args.scenes, 'dataset.json'), encoding='utf-8') as file:
        images = json.load(file)['images']
    pixels, labels = load_scenes(args, images, 'train')
    net = define_network()
    network = load_network(net)
    train(args, network, pixels, labels)
    save(args.output, net, network)
    accuracy = measure_accuracy(network, *load_scenes(args, images, 'val'))
    print(f'shapes in the validation scenes recognized: {accuracy:.1%}')
    print(f'wrote {args.output}')


def load_scenes(args, images, split):
    """Returns the pixels and the labels (n, attributes, GRID, GRID) of a split's scenes."""
    images = [image for image in images if image['split'] == split]
    paths = [os.path.join(args.scenes, split, image['filename']) for image in images]
    pixels = [prepare_image(read_image(path), IMAGE_SIZE, args.mean) for path in paths]
    labels = numpy.zeros((len(images), len(ATTRIBUTES), GRID, GRID), 'int32')
    for label, image in zip(labels, images):
        for shape in image['shapes']:
            row, column = (int(shape[axis] * GRID / IMAGE_SIZE) for axis in 'yx')
            label[:, row, column] = [
                1 + values.index(shape[attribute]) for attribute, values in ATTRIBUTES.items()
            ]
    return numpy.stack(pixels), labels


def define_network():
    """Returns the definition of the network, in Caffe's format, with random weights."""
    net = caffe_pb.NetParameter(name='scenes')
    channels, bottom = 3, 'data'
    for name, n_out, kernel, stride in CONVOLUTIONS:
        add_convolution(net, name, bottom, channels, n_out, kernel, stride)
        add_batch_normalization(net, f'norm_{name}', name, n_out)
        net.layer.add(name=f'relu_{name}', type='ReLU', bottom=[name], top=[name])
        channels, bottom = n_out, name
        if name != CONVOLUTIONS[-1][0]:
            bottom = f'pool_{name}'
            layer = net.layer.add(name=bottom, type='Pooling', bottom=[name], top=[bottom])
            layer.pooling_param.kernel_size = layer.pooling_param.stride = 2
    add_convolution(net, 'classes', bottom, channels, sum(N_CLASSES), kernel=1, stride=1)
    layer = net.layer.add(name='slice', type='Slice', bottom=['classes'], top=ATTRIBUTES)
    layer.slice_param.slice_point.extend(numpy.cumsum(N_CLASSES)[:-1].tolist())
    for attribute in ATTRIBUTES:
        net.layer.add(
            name=f'softmax_{attribute}',
            type='Softmax',
            bottom=[attribute],
            top=[f'prob_{attribute}'],
        )
    net.layer.add(
        name='prob', type='Concat', bottom=[f'prob_{name}' for name in ATTRIBUTES], top=['prob']
    )
    return net


def add_convolution(net, name, bottom, n_in, n_out, kernel, stride):
    layer = net.layer.add(name=name, type='Convolution', bottom=[bottom], top=[name])
    parameters = layer.convolution_param
    parameters.num_output = n_out
    parameters.kernel_size.append(kernel)
    parameters.stride.append(stride)
    parameters.pad.append(kernel // 2)
    deviation = (2 / (n_in * kernel**2)) ** 0.5
    weights = numpy.random.normal(0, deviation, (n_out, n_in, kernel, kernel))
    add_blobs(layer, weights, numpy.zeros(n_out))


def add_batch_normalization(net, name, blob, channels):
    layer = net.layer.add(name=name, type='BatchNorm', bottom=[blob], top=[blob])
    layer.batch_norm_param.moving_average_fraction = 0.95
    add_blobs(layer, numpy.zeros(channels), numpy.ones(channels))


def add_blobs(layer, *arrays):
    for values in arrays:
        blob = layer.blobs.add()
        blob.shape.dim.extend(values.shape)
        blob.data.extend(values.ravel())


def load_network(net):
    with tempfile.NamedTemporaryFile(suffix='.caffemodel') as file:
        file.write(net.SerializeToString())
        file.flush()
        return CaffeFunction(file.name)


def train(args, network, pixels, labels):
    optimizer = chainer.optimizers.Adam().setup(network)
    batches = [
        batch
        for _ in range(args.epoch)
        for batch in numpy.array_split(
            numpy.random.permutation(len(pixels)), max(1, len(pixels) // args.batch_size)
        )
    ]
    for iteration, batch in enumerate(tqdm.tqdm(batches, disable=None, leave=False)):
        # In the last two thirds of the training the learning rate falls to zero.
        optimizer.alpha = LEARNING_RATE * min(1, 1.5 * (1 - iteration / len(batches)))
        network.cleargrads()
        loss = sum(
            F.softmax_cross_entropy(logits, labels[batch, k])
            for k, logits in enumerate(predict(network, pixels[batch]))
        )
        loss.backward()
        optimizer.update()


def predict(network, pixels):
    """Returns the logits of each attribute, (n, classes, GRID, GRID)."""
    return network(inputs={'data': pixels}, outputs=ATTRIBUTES)


def measure_accuracy(network, pixels, labels):
    """Returns the share of the shapes whose color, kind and size are all predicted right."""
    with chainer.no_backprop_mode(), chainer.using_config('train', False):
        classes = [logits.array.argmax(axis=1) for logits in predict(network, pixels)]
    is_right = (numpy.stack(classes, axis=1) == labels).all(axis=1)
    return is_right[labels[:, 0] > 0].mean()


def save(path, net, network):
    for layer in net.layer:
        if layer.type in ('Convolution', 'BatchNorm'):
            link = network[layer.name]
            arrays = (
                (link.W.array, link.b.array)
                if layer.type == 'Convolution'
                else (link.avg_mean, link.avg_var)
            )
            for blob, values in zip(layer.blobs, arrays):
                blob.data[:] = values.ravel()
    with open_output(path) as file:
        file.write(net.SerializeToString())


if __name__ == '__main__':
    run_main(main)
