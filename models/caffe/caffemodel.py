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
from chainer.utils.type_check import InvalidType

from models.caffe.caffemodel_file import caffe_pb, read_layers
from models.caffe.layers import Convolution, max_pooling_2d, relu_in_place
from models.caffe.validation import LayerError, check_layer

# What Chainer raises for layers that it cannot build or apply to their inputs.
CHAINER_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, InvalidType
)  # fmt: skip


class Caffemodel(CaffeFunction):
    """A CaffeFunction that loads in the time it takes to read its file.

    Without gradients (``chainer.no_backprop_mode()``) it uses :mod:`models.caffe.layers`.

    Layers whose names another layer or an attribute of a chain has are renamed.

    Args:
        path (str): A ``.caffemodel`` in Caffe's old (V1) or new format.

    Attributes:
        unsupported (dict): Why layers cannot be computed, by name. Layers that neither take nor
            compute blobs, such as those that read data, are left out.

    Raises:
        google.protobuf.message.DecodeError: If the file is not a caffemodel, or cut short.
    """

    def __init__(self, path):
        # Not CaffeFunction's own constructor, which this one replaces.
        super(CaffeFunction, self).__init__()
        self.forwards = {}
        self.split_map = {}
        self.layers = []
        self.unsupported = {}
        with open(path, 'rb') as file, _without_gradient_initialization():
            old, new = read_layers(file)
            self._add_layers(
                new or old,
                caffe_function._type_to_method if new else caffe_function._oldname_to_method,
            )
        self.cleargrads()
        self._use_layers_for_inference()

    def _add_layers(self, layers, setup_of):
        self._make_names_unique(layers)
        for layer in layers:
            setup = setup_of.get(layer.type)
            if setup is None and not layer.bottom:
                continue  # reads data
            try:
                if setup is None:
                    raise ValueError(f'the type {_type_name(layer.type)} is not supported')
                check_layer(layer, setup)
                setup(self, layer)
            except (*CHAINER_ERRORS, RuntimeError) as error:
                self.unsupported[layer.name] = f'cannot be built: {error}'
                self._add_layer(layer)

    def _make_names_unique(self, layers):
        """Renames layers, which Caffe allows to have any names, to be attributes of a chain."""
        names = set()
        for position, layer in enumerate(layers):
            while layer.name in names or hasattr(self, layer.name):
                layer.name = f'{layer.name}_{position}'
            names.add(layer.name)

    def forward(self, inputs, outputs, disable=()):
        """Computes blobs as CaffeFunction does, but only the layers that they depend on.

        Args:
            inputs (dict): Variables or arrays by the names of their blobs.
            outputs (list of str): Blobs to compute.
            disable (iterable of str): Names of layers that are not computed.

        Returns:
            tuple of chainer.Variable: The outputs.

        Raises:
            LayerError: If a layer is not supported, or cannot be applied to its inputs.
        """
        variables = dict(inputs)
        enabled = [layer for layer in self.layers if layer[0] not in disable]
        layers = layers_leading_to(outputs, enabled)
        last_use = {blob: name for name, bottoms, _ in layers for blob in bottoms}
        last_use.update(dict.fromkeys(outputs))
        for name, bottoms, tops in layers:
            if any(blob not in variables for blob in bottoms):
                continue
            if name in self.unsupported:
                raise LayerError(name, self.unsupported[name])
            computed = self._compute(name, [variables[blob] for blob in bottoms])
            variables.update(zip(tops, computed))
            for blob in {*bottoms, *tops}:
                if last_use.get(blob, name) == name:
                    variables.pop(blob, None)
        return tuple(variables[blob] for blob in outputs)

    def _compute(self, name, inputs):
        try:
            outputs = self.forwards[name](*inputs)
            outputs = outputs if isinstance(outputs, (tuple, list)) else [outputs]
            if not all(output.size for output in outputs):
                raise ValueError('an output is empty')
        except CHAINER_ERRORS as error:
            shapes = ', '.join(' x '.join(map(str, x.shape[1:])) for x in inputs)
            raise LayerError(name, f'does not take inputs of {shapes}') from error
        return outputs

    def _use_layers_for_inference(self):
        # Blobs that a convolution or fully connected layer has allocated, so that an in-place
        # ReLU may overwrite them.
        temporary = set()
        for name, bottoms, tops in self.layers:
            forward = self.forwards.get(name)
            link = getattr(self, name, None)
            if type(link) is L.Convolution2D:
                self.forwards[name] = Convolution(link)
            elif getattr(forward, 'func', None) is F.max_pooling_2d:
                forward.func = max_pooling_2d
            elif forward is F.relu and bottoms == tops and temporary.issuperset(bottoms):
                self.forwards[name] = relu_in_place
            if isinstance(link, (L.Convolution2D, L.Linear)):
                temporary.update(tops)


def layers_leading_to(blobs, layers):
    """Returns those of all layers that some blobs depend on."""
    wanted, needed = {*blobs}, []
    for layer in reversed(layers):
        _, bottoms, tops = layer
        if not wanted.isdisjoint(tops):
            needed.append(layer)
            wanted.update(bottoms)
    return needed[::-1]


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


def _type_name(layer_type):
    if isinstance(layer_type, str):
        return layer_type
    return caffe_pb.V1LayerParameter.LayerType.Name(layer_type)
