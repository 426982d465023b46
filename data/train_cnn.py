"""Trains a small network to see what is where in the demo's scenes; writes a caffemodel.

It plays the part that VGG19, trained on ImageNet, plays for photographs. Its layer prob says
of each cell of a 3 x 3 grid how probable each colour, shape and size is there.
"""

import json
import os
import tempfile

from data.draw_scenes import COLOURS, SHAPES, SIDE, SIZES
from lib.command_line import ArgumentParser, positive_int, run, seed
from lib.files import replacing
from lib.photographs import prepare, read_photograph

import chainer
import chainer.functions as F
import numpy
import tqdm
from chainer.links.caffe import CaffeFunction
from chainer.links.caffe.caffe_function import caffe_pb

GRID = 3
# Name, output channels, kernel, stride. Batch normalisation and a ReLU follow each of them, and
# 2 x 2 pooling each but the last.
CONVOLUTIONS = (('conv1', 16, 5, 2), ('conv2', 32, 3, 1), ('conv3', 48, 3, 1),
                ('conv4', 64, 3, 1), ('conv5', 32, 3, 1))
LEARNING_RATE = 3e-3
# What is told of each cell; class 0 of each attribute is that nothing is there.
ATTRIBUTES = {'colour': list(COLOURS), 'shape': list(SHAPES), 'size': list(SIZES)}
N_CLASSES = [1 + len(values) for values in ATTRIBUTES.values()]


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument('scenes', help='folder that draw_scenes.py wrote')
    parser.add_argument('-o', '--output', required=True, help='caffemodel to write')
    parser.add_argument('--mean', type=float, nargs=3, default=[220, 220, 220],
                        metavar=('B', 'G', 'R'), help='subtracted from the pixels')
    parser.add_argument('--epoch', type=positive_int, default=3, help='passes over the scenes')
    parser.add_argument('--batch-size', type=positive_int, default=32, help='scenes at once')
    parser.add_argument('--seed', type=seed, default=0, help='of weights and order')
    return parser.parse_args()


def main():
    args = parse_args()
    numpy.random.seed(args.seed)
    with open(os.path.join(args.scenes, 'dataset.json'), encoding='utf-8') as file:
        images = json.load(file)['images']
    pixels, labels = load_scenes(args, images, 'train')
    description = describe_network()
    network = load_network(description)
    train(args, network, pixels, labels)
    save(args.output, description, network)
    print(f'things in the validation scenes seen right: '
          f'{accuracy(network, *load_scenes(args, images, "val")):.1%}')
    print(f'written to {args.output}')


def load_scenes(args, images, split):
    """Returns the pixels and the labels (n, attributes, GRID, GRID) of a split's scenes."""
    images = [image for image in images if image['split'] == split]
    pixels = [prepare(read_photograph(os.path.join(args.scenes, split, image['filename'])),
                      SIDE, args.mean) for image in images]
    labels = numpy.zeros((len(images), len(ATTRIBUTES), GRID, GRID), 'int32')
    for label, image in zip(labels, images):
        for thing in image['things']:
            row, column = int(thing['y'] * GRID / SIDE), int(thing['x'] * GRID / SIDE)
            label[:, row, column] = [1 + values.index(thing[attribute])
                                     for attribute, values in ATTRIBUTES.items()]
    return numpy.stack(pixels), labels


def describe_network():
    """Returns the network with random weights, in Caffe's terms."""
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
    add_convolution(net, 'conv6', bottom, channels, sum(N_CLASSES), kernel=1, stride=1)
    layer = net.layer.add(name='slice', type='Slice', bottom=['conv6'], top=ATTRIBUTES)
    layer.slice_param.slice_point.extend(numpy.cumsum(N_CLASSES)[:-1].tolist())
    for attribute in ATTRIBUTES:
        net.layer.add(name=f'softmax_{attribute}', type='Softmax', bottom=[attribute],
                      top=[f'prob_{attribute}'])
    net.layer.add(name='prob', type='Concat', bottom=[f'prob_{name}' for name in ATTRIBUTES],
                  top=['prob'])
    return net


def add_convolution(net, name, bottom, n_in, n_out, kernel, stride):
    layer = net.layer.add(name=name, type='Convolution', bottom=[bottom], top=[name])
    parameters = layer.convolution_param
    parameters.num_output = n_out
    parameters.kernel_size.append(kernel)
    parameters.stride.append(stride)
    parameters.pad.append(kernel // 2)
    deviation = (2 / (n_in * kernel ** 2)) ** 0.5
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


def load_network(description):
    with tempfile.NamedTemporaryFile(suffix='.caffemodel') as file:
        file.write(description.SerializeToString())
        file.flush()
        return CaffeFunction(file.name)


def train(args, network, pixels, labels):
    optimizer = chainer.optimizers.Adam().setup(network)
    batches = [batch for _ in range(args.epoch) for batch in numpy.array_split(
        numpy.random.permutation(len(pixels)), len(pixels) // args.batch_size)]
    for done, batch in enumerate(tqdm.tqdm(batches, disable=None, leave=False)):
        # The last two thirds of the training bring the rate down to zero.
        optimizer.alpha = LEARNING_RATE * min(1, 1.5 * (1 - done / len(batches)))
        network.cleargrads()
        loss = sum(F.softmax_cross_entropy(logits, labels[batch, k])
                   for k, logits in enumerate(see(network, pixels[batch])))
        loss.backward()
        optimizer.update()


def see(network, pixels):
    """Returns the logits of each attribute, (n, classes, GRID, GRID)."""
    return network(inputs={'data': pixels}, outputs=ATTRIBUTES)


def accuracy(network, pixels, labels):
    """Returns the share of the things whose colour, shape and size are all seen right."""
    with chainer.no_backprop_mode(), chainer.using_config('train', False):
        seen = [logits.array.argmax(axis=1) for logits in see(network, pixels)]
    right = (numpy.stack(seen, axis=1) == labels).all(axis=1)
    return right[labels[:, 0] > 0].mean()


def save(path, description, network):
    for layer in description.layer:
        if layer.type in ('Convolution', 'BatchNorm'):
            link = network[layer.name]
            arrays = ((link.W.array, link.b.array) if layer.type == 'Convolution'
                      else (link.avg_mean, link.avg_var))
            for blob, values in zip(layer.blobs, arrays):
                blob.data[:] = values.ravel()
    with replacing(path) as temporary, open(temporary, 'wb') as file:
        file.write(description.SerializeToString())


if __name__ == '__main__':
    run(main)
