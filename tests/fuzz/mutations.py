"""Ways of damaging files, each a function of a path and a ``random.Random``."""

import json
import math

import h5py
import numpy
import scipy.io
from chainer.links.caffe.caffe_function import caffe_pb

NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    9,
    255,
    2**31 - 1,
    2**31,
    2**32,
    2**63 - 1,
    -(2**63),
    2**70,
    10**9,
    10**7,
]
FLOATS = [0.0, -1.0, 0.5, 1e308, -1e308, 1e-320, math.nan, math.inf, -math.inf, 3.5]
TEXTS = [
    '',
    'x',
    '..',
    '/etc/passwd',
    '../../x',
    '\0',
    '\n',
    '\x1b[31m',
    'a' * 300,
    '\ud800',
    '犬',
    '{',
]
VALUES = [*NUMBERS, *FLOATS, *TEXTS, None, True, False, [], {}, [[]], [None], {'': None}]


def change_bytes(path, rng):
    """Overwrites, cuts, repeats or inserts bytes, in one to eight places."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 8])):
        start = rng.randrange(len(content) + 1)
        size = rng.choice([1, 2, 4, 8, 64, 1000])
        kind = rng.randrange(5)
        if kind == 0:
            content[start : start + size] = rng.randbytes(size)
        elif kind == 1:
            content[start : start + size] = rng.choice([b'\0', b'\xff']) * size
        elif kind == 2:
            del content[start : start + size]
        elif kind == 3:
            content[start:start] = content[start : start + size]
        else:
            del content[start:]
    path.write_bytes(content)


def change_json(path, rng):
    """Replaces, deletes or repeats values in a JSON file."""
    content = json.loads(path.read_text())
    for _ in range(rng.choice([1, 1, 3])):
        content = _change_node(content, rng)
    path.write_text(json.dumps(content))


def _change_node(node, rng):
    if not isinstance(node, (dict, list)) or not node or rng.random() < 0.1:
        return rng.choice(VALUES)
    key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
    kind = rng.randrange(8)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, list):
        node.append(node[key])
    else:
        node[key] = _change_node(node[key], rng)
    return node


def change_text(path, rng):
    """Changes, deletes or adds a line of a text file."""
    lines = path.read_text().splitlines()
    position = rng.randrange(len(lines))
    lines[position : position + rng.randrange(2)] = [rng.choice(TEXTS)] * rng.randrange(3)
    path.write_text('\n'.join(lines), errors='surrogatepass')


def change_hdf5(path, rng):
    """Replaces an entry or an attribute of an HDF5 file, or deletes it."""
    with h5py.File(path, 'a') as file:
        names = []
        file.visit(names.append)
        for _ in range(rng.choice([1, 1, 2])):
            name = rng.choice(names)
            if file.attrs and rng.random() < 0.05:
                file.attrs[rng.choice(list(file.attrs))] = rng.choice(['x', 1, [1.5], b'\xff'])
            elif isinstance(_link_to(file, name), h5py.HardLink):
                _change_entry(file, name, rng)


def _link_to(file, name):
    """Returns the link to an entry, None if an earlier change has removed it or its group."""
    try:
        return file.get(name, getlink=True)
    except (KeyError, RuntimeError):
        return None


def _change_entry(file, name, rng):
    item = file[name]
    array = item[()] if isinstance(item, h5py.Dataset) and item.shape is not None else None
    replacements = [
        lambda: None,
        lambda: h5py.Empty('f'),
        lambda: h5py.SoftLink('/'),
        lambda: h5py.SoftLink(f'/{name}'),
        lambda: h5py.ExternalLink('/etc/passwd', '/'),
        lambda: numpy.array(rng.choice(NUMBERS[:-2]), 'float64'),
        lambda: rng.choice(['text', ['a', 'b'], b'\xff\xfe']),
        lambda: numpy.zeros(rng.choice([0, 1, 5, (2, 2), (1, 0, 3)]), rng.choice('?iIfdbD')),
    ]
    if array is not None and numpy.ndim(array) and numpy.size(array) and array.dtype.kind in 'iufb':
        replacements += 3 * [lambda: _change_array(numpy.array(array), rng)]
    new = rng.choice(replacements)()
    del file[name]
    if new is not None:
        file[name] = new


def _change_array(array, rng):
    kind = rng.randrange(7)
    if kind == 0:
        return array[: rng.randrange(len(array) + 1)]
    if kind == 1:
        return numpy.concatenate((array, array[-rng.randrange(1, 3) :]))
    if kind == 2:
        return array.astype(rng.choice(['float64', 'int8', 'uint64', 'complex64', 'bool']))
    if kind == 3:
        return array[None] if rng.random() < 0.5 else array.ravel()
    if kind == 4:
        return array[::-1]
    wide = array.astype('float64' if array.dtype.kind == 'f' else 'int64')
    values = FLOATS if array.dtype.kind == 'f' else NUMBERS[:10]
    wide.reshape(-1)[rng.randrange(wide.size)] = rng.choice(values)
    return wide


def change_matlab(path, rng):
    """Replaces what is in a MATLAB 5 file."""
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith('__')}
    feats = content['feats'].astype('float64')
    content['feats'] = rng.choice(
        [
            feats[:, :-1], feats[:-1], feats.T, feats * 1e300, feats * numpy.nan, feats + 1j,
            feats.astype('int8'), feats[None], numpy.zeros((0, 4)), 'text', {'a': feats},
            [feats, 'x'], numpy.array([[feats, 'x']], object), feats.astype(bool),
            scipy.sparse.csc_array(feats), 3, numpy.zeros((3, 10**7), 'int8'),
        ]
    )  # fmt: skip
    if rng.random() < 0.3:
        content['feature_source'] = rng.choice(['', '{', '{"a": 1}', '[]', 'null', 3, {'a': 1}])
    if rng.random() < 0.1:
        content['other'] = content.pop('feats')
    scipy.io.savemat(path, content, do_compression=rng.random() < 0.5)


def change_caffemodel(path, rng):
    """Changes fields of the layers of a network, or the order of the layers."""
    network = caffe_pb.NetParameter.FromString(path.read_bytes())
    layers = network.layer if network.layer else network.layers
    kind = rng.randrange(6)
    layer = rng.choice(layers)
    if kind == 0:
        layers.remove(layer)
    elif kind == 1:
        layers.append(layer)
    elif kind == 2:
        layer.CopyFrom(rng.choice(layers))
    else:
        for _ in range(rng.choice([1, 2])):
            _change_message(layer, rng)
    path.write_bytes(network.SerializeToString())


def _change_message(message, rng):
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    try:
        if field.message_type is not None:
            part = rng.choice(value) if hasattr(value, 'add') else value
            _change_message(part, rng)
        elif hasattr(value, 'append'):
            if value and rng.random() < 0.5:
                value[rng.randrange(len(value))] = rng.choice(VALUES)
            else:
                value.append(rng.choice(VALUES))
        elif rng.random() < 0.2:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, rng.choice(VALUES))
    except (TypeError, ValueError):
        pass  # the field cannot have such a value
