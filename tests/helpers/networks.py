"""The same network twice, fast and plain, and batches for both."""

import chainer
import numpy
import pytest

from lib.captions.batch import Batch
from models.plain import PlainShowAndTell
from models.show_and_tell import ShowAndTell

# Lengths of the captions of a batch.
LENGTHS = [
    pytest.param([1], id='one caption of one token'),
    pytest.param([7], id='batch of one'),
    pytest.param([3, 3, 3], id='equal lengths'),
    pytest.param([50, 12, 12, 4, 1, 1], id='1 to 50 tokens'),
]
TOLERANCE = {'float64': 1e-10, 'float32': 1e-4}
FEATURE_SIZE, VOCABULARY_SIZE = 6, 11


def make_batch(device, lengths, dtype='float64', loss_reduction='mean'):
    """Returns a :class:`Batch` of random captions, the longest first, on a device."""
    rng = numpy.random.RandomState(0)
    features = rng.randn(len(lengths), FEATURE_SIZE).astype(dtype)
    captions = [rng.randint(3, VOCABULARY_SIZE, n).tolist() for n in lengths]
    inputs, targets, captions_per_step = [], [], []
    for step in range(max(lengths) + 1):
        running = [tokens for tokens in captions if step <= len(tokens)]
        inputs += [[0, *tokens][step] for tokens in running]
        targets += [[*tokens, 1][step] for tokens in running]
        captions_per_step.append(len(running))
    arrays = device.send((features, numpy.int32(inputs), numpy.int32(targets)))
    divisor = len(lengths) if loss_reduction == 'sentence' else len(targets)
    return Batch(*arrays, captions_per_step, divisor)


def make_networks(device, dtype='float64', dropout=0.0, n_layers=1):
    """Returns a fast and a plain network with the same random weights, on a device."""
    numpy.random.seed(1)
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        fast, plain = (
            network(FEATURE_SIZE, VOCABULARY_SIZE, 5, 4, dropout, n_layers)
            for network in (ShowAndTell, PlainShowAndTell)
        )
    for param in fast.params():
        param.array[...] += 0.3 * numpy.random.randn(*param.shape).astype(dtype)
    plain.copyparams(fast)
    fast.to_device(device)
    plain.to_device(device)
    return fast, plain
