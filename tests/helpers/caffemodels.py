"""Caffemodels with random weights: narrow versions of well-known networks."""

import numpy
from chainer.links.caffe.caffe_function import caffe_pb

# The names of the layer types in the new format; the old one has an enumeration.
TYPE_NAMES = {
    'CONVOLUTION': 'Convolution',
    'INNER_PRODUCT': 'InnerProduct',
    'RELU': 'ReLU',
    'POOLING': 'Pooling',
    'DROPOUT': 'Dropout',
    'CONCAT': 'Concat',
    'SOFTMAX': 'Softmax',
    'LRN': 'LRN',
    'DATA': 'Data',
}


class Writer:
    """Builds a network layer by layer and writes it.

    Args:
        old_format (bool): Use Caffe's old format (V1) instead of the new one.
        seed (int): Seed of the random weights.

    Attributes:
        net (caffe_pb.NetParameter): The network so far.
    """

    def __init__(self, old_format=False, seed=0):
        self.net = caffe_pb.NetParameter()
        self.rng = numpy.random.RandomState(seed)
        self.old_format = old_format

    def layer(self, layer_type, name, bottoms, tops):
        """Adds a layer without weights and returns its message."""
        bottoms, tops = ([blobs] if isinstance(blobs, str) else blobs for blobs in (bottoms, tops))
        if self.old_format:
            number = getattr(caffe_pb.V1LayerParameter, layer_type)
            return self.net.layers.add(name=name, type=number, bottom=bottoms, top=tops)
        return self.net.layer.add(name=name, type=TYPE_NAMES[layer_type], bottom=bottoms, top=tops)

    def convolution(self, name, bottom, n_in, n_out, kernel, pad=0, stride=1):
        """Adds a convolution and its ReLU; returns the name of the blob."""
        layer = self.layer('CONVOLUTION', name, bottom, name)
        parameters = layer.convolution_param
        parameters.num_output = n_out
        parameters.kernel_size.append(kernel)
        parameters.pad.append(pad)
        parameters.stride.append(stride)
        self._add_blobs(layer, (n_out, n_in, kernel, kernel), (n_out,))
        self.relu(name)
        return name

    def inner_product(self, name, bottom, n_in, n_out):
        layer = self.layer('INNER_PRODUCT', name, bottom, name)
        layer.inner_product_param.num_output = n_out
        self._add_blobs(layer, (n_out, n_in), (n_out,))
        return name

    def relu(self, blob):
        self.layer('RELU', f'relu_{blob}', blob, blob)

    def pool(self, name, bottom, kernel, stride, pad=0, average=False):
        parameters = self.layer('POOLING', name, bottom, name).pooling_param
        parameters.kernel_size, parameters.stride, parameters.pad = kernel, stride, pad
        if average:
            parameters.pool = parameters.AVE
        return name

    def _add_blobs(self, layer, *shapes):
        for shape in shapes:
            blob = layer.blobs.add()
            if self.old_format:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - len(shape)) + shape
            else:
                blob.shape.dim.extend(shape)
            scale = (2 / max(1, numpy.prod(shape[1:]))) ** 0.5
            blob.data.extend(scale * self.rng.randn(numpy.prod(shape)))

    def write(self, path):
        """Writes the network to a path and returns the path."""
        path.write_bytes(self.net.SerializeToString())
        return path


def write_vgg19(path, old_format=True, width=2, features=12):
    """Writes a VGG19, with all its layers, for images of 224 x 224 pixels.

    Args:
        path (pathlib.Path): File to write.
        old_format (bool): As for :class:`Writer`.
        width (int): Channels of the first convolution; 64 in the real network.
        features (int): Size of fc6 and fc7; 4096 in the real network.

    Returns:
        pathlib.Path: The path.
    """
    writer = Writer(old_format)
    blob, n_in = 'data', 3
    writer.layer('DATA', 'data', [], ['data', 'label'])
    for block, (n_layers, factor) in enumerate([(2, 1), (2, 2), (4, 4), (4, 8), (4, 8)], start=1):
        for number in range(1, n_layers + 1):
            blob = writer.convolution(f'conv{block}_{number}', blob, n_in, width * factor, 3, pad=1)
            n_in = width * factor
        blob = writer.pool(f'pool{block}', blob, 2, 2)
    for name, n_out in ('fc6', features), ('fc7', features):
        blob = writer.inner_product(name, blob, n_in * 49 if name == 'fc6' else features, n_out)
        writer.relu(name)
        writer.layer('DROPOUT', f'drop_{name}', name, name)
    writer.inner_product('fc8', blob, features, 10)
    writer.layer('SOFTMAX', 'prob', 'fc8', 'prob')
    return writer.write(path)


def write_googlenet(path, width=1):
    """Writes a narrow GoogLeNet, up to pool5/7x7_s1, for images of 224 x 224 pixels."""
    writer = Writer()
    blob = writer.convolution('conv1/7x7_s2', 'data', 3, 4 * width, 7, pad=3, stride=2)
    blob = writer.pool('pool1/3x3_s2', blob, 3, 2)
    writer.layer('LRN', 'pool1/norm1', blob, 'pool1/norm1')
    blob = writer.convolution('conv2/3x3_reduce', 'pool1/norm1', 4 * width, 4 * width, 1)
    blob = writer.convolution('conv2/3x3', blob, 4 * width, 8 * width, 3, pad=1)
    writer.layer('LRN', 'conv2/norm2', blob, 'conv2/norm2')
    blob, n_in = writer.pool('pool2/3x3_s2', 'conv2/norm2', 3, 2), 8 * width
    for block in ['3a', '3b', '4a', '4b', '4c', '4d', '4e', '5a', '5b']:
        blob, n_in = _inception(writer, f'inception_{block}', blob, n_in, width), 8 * width
        if block in ('3b', '4e'):
            blob = writer.pool(f'pool{block[0]}/3x3_s2', blob, 3, 2)
    writer.pool('pool5/7x7_s1', blob, 7, 1, average=True)
    return writer.write(path)


def _inception(writer, name, bottom, n_in, width):
    branches = [writer.convolution(f'{name}/1x1', bottom, n_in, 2 * width, 1)]
    for kernel in 3, 5:
        reduced = writer.convolution(f'{name}/{kernel}x{kernel}_reduce', bottom, n_in, width, 1)
        branches.append(
            writer.convolution(
                f'{name}/{kernel}x{kernel}', reduced, width, 2 * width, kernel, pad=kernel // 2
            )
        )
    pooled = writer.pool(f'{name}/pool', bottom, 3, 1, pad=1)
    branches.append(writer.convolution(f'{name}/pool_proj', pooled, n_in, 2 * width, 1))
    writer.layer('CONCAT', f'{name}/output', branches, f'{name}/output')
    return f'{name}/output'
