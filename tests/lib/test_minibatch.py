from lib.caption_file import Captions
from lib.karpathy import CaptionedImage
from lib.minibatch import make_converter, pack

import chainer
import numpy
from hypothesis import given
from hypothesis import strategies as st

sentences = st.lists(st.lists(st.sampled_from('abcde'), min_size=1, max_size=9),
                     min_size=1, max_size=8)


def make_captions(sentences):
    return Captions.from_images(
        [CaptionedImage(2 * k, -1, f'{k}.jpg', 'train', [sentence], [' '.join(sentence)])
         for k, sentence in enumerate(sentences)], min_count=1)


@given(sentences, st.randoms(use_true_random=False))
def test_packs_like_loops_over_steps_and_captions(sentences, random):
    captions = make_captions(sentences)
    indices = random.choices(range(len(sentences)), k=5)
    order, inputs, targets, batch_sizes = pack(captions, numpy.array(indices))

    expected = sorted(indices, key=lambda i: -len(sentences[i]))
    assert order.tolist() == expected
    encoded = [captions.vocabulary.encode(sentences[i]) for i in expected]
    expected_inputs, expected_targets, expected_sizes = [], [], []
    for step in range(len(encoded[0]) + 1):
        running = [words for words in encoded if step <= len(words)]
        expected_inputs += [[0, *words][step] for words in running]
        expected_targets += [[*words, 1][step] for words in running]
        expected_sizes.append(len(running))
    assert inputs.tolist() == expected_inputs
    assert targets.tolist() == expected_targets
    assert batch_sizes == expected_sizes
    assert inputs.dtype == targets.dtype == 'int32'


def test_converter_brings_the_features_of_each_caption_image():
    captions = make_captions([['a'], ['a', 'b', 'c'], ['b', 'c']])
    features = numpy.arange(10, dtype='float32').reshape(5, 2)
    converter = make_converter(captions, features)
    rows, inputs, targets, batch_sizes = converter([0, 1, 2], chainer.get_device('@numpy'))
    # Captions 1, 2, 0 by length; their images have imgid 2, 4, 0.
    numpy.testing.assert_array_equal(rows, features[[2, 4, 0]])
    assert batch_sizes == [3, 3, 2, 1]
    assert len(inputs) == len(targets) == 9
