"""Ways of damaging files, each a function of a path and a ``random.Random``."""

import json
import math

import h5py
import numpy
import scipy
from chainer.links.caffe.caffe_function import caffe_pb

INTEGERS = [0, 1, -1, 2, 3, 9, 255, 10**7, 2**31 - 1, 2**31, 2**32, 2**63 - 1, -(2**63), 2**70]
FLOATS = [0.0, -1.0, 0.5, 1e308, -1e308, 1e-320, math.nan, math.inf, -math.inf]
TEXTS = [
    '',
    'x',
    '..',
    '/etc/passwd',
    '../x',
    '\0',
    '\n',
    '\x1b[31m',
    'a' * 300,
    '\ud800',
    '犬',
    '{',
]
VALUES = [*INTEGERS, *FLOATS, *TEXTS, None, True, False, [], {}, [[]], [None], {'': None}]


def change_bytes(path, rng):
    """Overwrites, cuts, repeats or inserts bytes, in one to eight places."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 8])):
        start = rng.randrange(len(content) + 1)
        size = rng.choice([1, 2, 4, 8, 64, 1000])
        change = rng.randrange(5)
        if change == 0:
            content[start : start + size] = rng.randbytes(size)
        elif change == 1:
            content[start : start + size] = rng.choice([b'\0', b'\xff']) * size
        elif change == 2:
            del content[start : start + size]
        elif change == 3:
            content[start:start] = content[start : start + size]
        else:
            del content[start:]
    path.write_bytes(content)


def change_json(path, rng):
    """Replaces, deletes or repeats a value in a JSON file."""
    path.write_text(json.dumps(_change_node(json.loads(path.read_text()), rng)))


def _change_node(node, rng):
    if not isinstance(node, (dict, list)) or not node or rng.random() < 0.1:
        return rng.choice(VALUES)
    key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
    change = rng.randrange(8)
    if change == 0:
        del node[key]
    elif change == 1 and isinstance(node, list):
        node.append(node[key])
    else:
        node[key] = _change_node(node[key], rng)
    return node


def change_hdf5(path, rng):
    """Replaces or deletes an entry or an attribute of an HDF5 file of features."""
    with h5py.File(path, 'a') as file:
        if file.attrs and rng.random() < 0.1:
            file.attrs[rng.choice(list(file.attrs))] = rng.choice(['x', 1, [1.5], b'\xff'])
            return
        name = rng.choice(list(file))
        new = rng.choice(
            [
                None, h5py.Empty('f'), h5py.SoftLink('/'), h5py.SoftLink(f'/{name}'),
                h5py.ExternalLink('/etc/passwd', '/'), 'text', ['a', 'b'], b'\xff\xfe',
                *_arrays_like(file[name][()]),
            ]
        )  # fmt: skip
        del file[name]
        if new is not None:
            file[name] = new


def change_matlab(path, rng):
    """Replaces what is in a MATLAB 5 file of features."""
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith('__')}
    feats = content['feats']
    content['feats'] = rng.choice(
        [
            'text', {'a': feats}, [feats, 'x'], numpy.array([[feats, 'x']], object),
            scipy.sparse.csc_array(feats), *_arrays_like(feats),
        ]
    )  # fmt: skip
    if rng.random() < 0.3:
        content['feature_source'] = rng.choice(['', '{', '{"a": 1}', '[]', 'null', 3, {'a': 1}])
    if rng.random() < 0.1:
        content['other'] = content.pop('feats')
    scipy.io.savemat(path, content, do_compression=rng.random() < 0.5)


def _arrays_like(array):
    """Returns arrays of other shapes, types and values."""
    array = numpy.array(array, 'float64')
    spoilt = array.copy()
    spoilt.flat[-1] = math.nan
    return [
        array[..., :-1], array[:-1], array.T, array[None], array.ravel(), array[:0],
        array.astype('int8'), array.astype(bool), array + 1j, array * 1e300, spoilt, 3,
        numpy.zeros((3, 10**7), 'int8'),
    ]  # fmt: skip


def change_caffemodel(path, rng):
    """Changes fields of the layers of a network, or the order of the layers."""
    network = caffe_pb.NetParameter.FromString(path.read_bytes())
    layers = network.layer or network.layers
    layer = rng.choice(layers)
    change = rng.randrange(5)
    if change == 0:
        layers.remove(layer)
    elif change == 1:
        layers.append(layer)
    elif change == 2:
        layer.CopyFrom(rng.choice(layers))
    else:
        _change_message(layer, rng)
    path.write_bytes(network.SerializeToString())


def _change_message(message, rng):
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    try:
        if field.message_type is not None:
            _change_message(rng.choice(value) if hasattr(value, 'add') else value, rng)
        elif hasattr(value, 'append'):
            value[rng.randrange(len(value))] = rng.choice(VALUES)
        elif rng.random() < 0.2:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, rng.choice(VALUES))
    except (TypeError, ValueError):
        pass  # the field cannot have such a value
