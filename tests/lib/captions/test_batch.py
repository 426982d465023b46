import chainer
import numpy
from hypothesis import given
from hypothesis import strategies as st

from lib.captions.batch import flatten, make_converter, pack
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import CaptionedImage
from lib.processes import Processes

to_cpu = chainer.get_device('@numpy').send
TOKENIZED_CAPTIONS = st.lists(
    st.lists(st.sampled_from('abcde'), min_size=1, max_size=9), min_size=1, max_size=8
)


def make_dataset(captions):
    """Returns a data set with one caption per image; caption ``k`` describes imgid ``2 k``."""
    return CaptionDataset.from_images(
        [
            CaptionedImage(2 * k, -1, f'{k}.jpg', 'train', [tokens], [' '.join(tokens)])
            for k, tokens in enumerate(captions)
        ],
        min_count=1,
    )


@given(TOKENIZED_CAPTIONS, st.randoms(use_true_random=False))
def test_packing_equals_loops_over_steps_and_captions(captions, random):
    dataset = make_dataset(captions)
    indices = random.choices(range(len(captions)), k=5)
    order, inputs, targets, captions_per_step = pack(
        dataset.tokens, dataset.offsets, numpy.array(indices)
    )

    expected_order = sorted(indices, key=lambda i: -len(captions[i]))
    assert order.tolist() == expected_order
    encoded = [dataset.vocabulary.encode(captions[i]) for i in expected_order]
    expected_inputs, expected_targets, expected_sizes = [], [], []
    for step in range(len(encoded[0]) + 1):
        running = [tokens for tokens in encoded if step <= len(tokens)]
        expected_inputs += [[0, *tokens][step] for tokens in running]
        expected_targets += [[*tokens, 1][step] for tokens in running]
        expected_sizes.append(len(running))
    assert inputs.tolist() == expected_inputs
    assert targets.tolist() == expected_targets
    assert captions_per_step == expected_sizes
    assert inputs.dtype == targets.dtype == 'int32'


def test_flattened_captions_can_be_packed():
    tokens, offsets = flatten([[3], [], [4, 5]])
    order, inputs, _, captions_per_step = pack(tokens, offsets, numpy.arange(3))
    assert order.tolist() == [2, 0, 1]
    assert inputs.tolist() == [0, 0, 0, 4, 3, 5]
    assert captions_per_step == [3, 2, 1]


def test_converter_returns_captions_with_the_features_of_their_images(device):
    dataset = make_dataset([['a'], ['a', 'b', 'c'], ['b', 'c']])
    features = device.send(numpy.arange(10, dtype='float32').reshape(5, 2))
    (batch,) = make_converter(dataset, features)([0, 1, 2], device)
    # Longest first, these are captions 1, 2 and 0, whose images have imgid 2, 4 and 0.
    numpy.testing.assert_array_equal(to_cpu(batch.features), to_cpu(features)[[2, 4, 0]])
    assert batch.images.tolist() == [1, 2, 0]
    assert batch.inputs.dtype == batch.targets.dtype == 'int32'
    _, inputs, targets, captions_per_step = pack(dataset.tokens, dataset.offsets, numpy.arange(3))
    numpy.testing.assert_array_equal(to_cpu(batch.inputs), inputs)
    numpy.testing.assert_array_equal(to_cpu(batch.targets), targets)
    assert batch.captions_per_step == captions_per_step == [3, 3, 2, 1]
    assert batch.divisor == 9
    (batch,) = make_converter(dataset, features, 'sentence')([0, 1, 2], device)
    assert batch.divisor == 3


def test_processes_convert_shares_of_nearly_the_same_lengths():
    dataset = make_dataset([['a'] * n for n in (5, 1, 4, 2, 3)])
    features = numpy.zeros((10, 2), 'float32')
    images = []
    for rank in range(2):
        processes = Processes()
        processes.rank, processes.size = rank, 2
        (batch,) = make_converter(dataset, features, 'mean', processes)(
            range(5), chainer.get_device('@numpy')
        )
        assert batch.divisor == (1 + 2 + 3 + 4 + 5 + 5) / 2
        images.append(batch.images.tolist())
    assert images == [[0, 4, 1], [2, 3]]
