import chainer
import numpy

from models.fast.dropout import dropout_argument, dropout_mask
from tests.models.fast.test_lstm_inputs import dropped


def test_nothing_is_dropped_when_not_training_or_with_ratio_0():
    state = numpy.random.get_state()[1].copy()
    with chainer.using_config('train', True):
        assert dropout_mask((2, 3), 'float32', 0) is None
        assert dropout_argument(0)['threshold'] == 0
    with chainer.using_config('train', False):
        assert dropout_mask((2, 3), 'float32', 0.5) is None
        assert dropout_argument(0.5)['threshold'] == 0
    # No random number was drawn.
    numpy.testing.assert_array_equal(numpy.random.get_state()[1], state)


def philox(key, position):
    """A word of Philox4x32-10, as the paper describes it."""
    counter = [position % 2**32, position >> 32, 0, 0]
    key = [key % 2**32, key >> 32]
    for _ in range(10):
        products = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (products[1] >> 32) ^ counter[1] ^ key[0],
            products[1] % 2**32,
            (products[0] >> 32) ^ counter[3] ^ key[1],
            products[0] % 2**32,
        ]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter[0]


def test_philox_gives_the_numbers_of_its_authors():
    # From the known answers of their library Random123, for a counter and a key of zeros.
    assert philox(0, 0) == 0x6627E8D5


def test_kernels_compute_the_mask_from_key_and_position(gpu):
    features = numpy.ones((3, 5), 'float32')
    numpy.random.seed(4)
    with chainer.using_config('train', True):
        argument = dropout_argument(0.3)
    mask = [philox(int(argument['key']), i) >= argument['threshold'] for i in range(15)]
    assert argument['threshold'] == round(0.3 * 2**32)
    numpy.testing.assert_array_equal(dropped(gpu, features, 0.3, seed=4).ravel() != 0, mask)
