import chainer
import numpy
from hypothesis import given
from hypothesis import strategies as st

from lib.captions.captioned_image import CaptionedImage
from lib.captions.dataset import CaptionDataset
from lib.captions.packing import make_converter, pack
from lib.features.table import FeatureTable

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
    order, inputs, targets, batch_sizes = pack(dataset, numpy.array(indices))

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
    assert batch_sizes == expected_sizes
    assert inputs.dtype == targets.dtype == 'int32'


def test_converter_returns_the_features_of_the_image_of_each_caption(device):
    dataset = make_dataset([['a'], ['a', 'b', 'c'], ['b', 'c']])
    features = numpy.arange(10, dtype='float32').reshape(5, 2)
    convert = make_converter(dataset, FeatureTable(device.send(features)))
    batch, inputs, targets, batch_sizes, rows = convert([0, 1, 2], device)
    # Longest first, these are captions 1, 2 and 0, whose images have imgid 2, 4 and 0.
    numpy.testing.assert_array_equal(to_cpu(batch), features[[2, 4, 0]])
    assert rows is None
    assert inputs.dtype == targets.dtype == 'int32'
    _, expected_inputs, expected_targets, expected_sizes = pack(dataset, numpy.arange(3))
    numpy.testing.assert_array_equal(to_cpu(inputs), expected_inputs)
    numpy.testing.assert_array_equal(to_cpu(targets), expected_targets)
    assert batch_sizes == expected_sizes == [3, 3, 2, 1]
