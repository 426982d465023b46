"""Caffemodels that load and run in little time and memory.

Chainer's CaffeFunction parses the whole file with protobuf and then copies its lists of
numbers: for VGG19 that takes 10 s and three times the memory of the file. Here protobuf
parses only the description of each layer; the weights are read from the file straight into
the parameters.
"""

import contextlib

import chainer.functions as F
import chainer.links as L
from chainer.initializers import constant
from chainer.links.caffe import CaffeFunction, caffe_function

from models.caffe.caffemodel_file import read_layers
from models.caffe.layers import Convolution, max_pooling_2d, relu_in_place


class Caffemodel(CaffeFunction):
    """A CaffeFunction that loads in the time it takes to read its file.

    Without gradients (``chainer.no_backprop_mode()``) it uses :mod:`models.caffe.layers`.

    Args:
        path (str): A ``.caffemodel`` in Caffe's old (V1) or new format.

    Raises:
        google.protobuf.message.DecodeError: If the file is not a caffemodel, or cut short.
    """

    def __init__(self, path):
        # Not CaffeFunction's own constructor, which this one replaces.
        super(CaffeFunction, self).__init__()
        self.forwards, self.split_map, self.layers = {}, {}, []
        with open(path, 'rb') as file, _without_gradient_initialization():
            old, new = read_layers(file)
            for layer in new or old:
                setup_of = (
                    caffe_function._type_to_method if new else caffe_function._oldname_to_method
                )
                # Like CaffeFunction, skips layers that only training needs.
                if layer.type in setup_of:
                    setup_of[layer.type](self, layer)
        self.cleargrads()
        self._use_layers_for_inference()

    def _use_layers_for_inference(self):
        # Blobs that a convolution or fully connected layer has allocated, so that an in-place
        # ReLU may overwrite them.
        temporary = set()
        for name, bottoms, tops in self.layers:
            forward = self.forwards[name]
            link = getattr(self, name, None)
            if type(link) is L.Convolution2D:
                self.forwards[name] = Convolution(link)
            elif getattr(forward, 'func', None) is F.max_pooling_2d:
                forward.func = max_pooling_2d
            elif forward is F.relu and bottoms == tops and temporary.issuperset(bottoms):
                self.forwards[name] = relu_in_place
            if isinstance(link, (L.Convolution2D, L.Linear)):
                temporary.update(tops)


@contextlib.contextmanager
def _without_gradient_initialization():
    """Keeps Chainer from filling the gradient of each new parameter with NaN.

    The gradients are dropped after loading. As long as nothing is written to them, they take
    no memory, otherwise as much as the network.
    """
    fill = constant.NaN.__call__
    constant.NaN.__call__ = lambda self, array: None
    try:
        yield
    finally:
        constant.NaN.__call__ = fill
