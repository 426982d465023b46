from lib.vocabulary import SPECIAL_WORDS, UNKNOWN, Vocabulary

import pytest
from hypothesis import given
from hypothesis import strategies as st

words = st.text(alphabet='abc', min_size=1, max_size=3) | st.sampled_from(SPECIAL_WORDS)
captions = st.lists(st.lists(words, min_size=1), min_size=1)


@given(captions, st.integers(1, 4))
def test_holds_exactly_the_words_that_are_frequent_enough(captions, min_count):
    vocabulary = Vocabulary.from_captions(captions, min_count)
    everything = [word for caption in captions for word in caption]
    expected = {word for word in everything
                if everything.count(word) >= min_count and word not in SPECIAL_WORDS}
    assert vocabulary.words[:3] == SPECIAL_WORDS
    assert set(vocabulary.words[3:]) == expected
    counts = [everything.count(word) for word in vocabulary.words[3:]]
    assert counts == sorted(counts, reverse=True)


@given(captions)
def test_decode_undoes_encode_and_text_never_becomes_a_start_or_end(captions):
    vocabulary = Vocabulary.from_captions(captions, 1)
    for caption in captions:
        indices = vocabulary.encode(caption)
        assert min(indices) >= UNKNOWN
        expected = ['<UNK>' if word in SPECIAL_WORDS else word for word in caption]
        assert vocabulary.decode(indices) == ' '.join(expected)


def test_unknown_words_become_unk_and_ends_are_not_printed():
    vocabulary = Vocabulary((*SPECIAL_WORDS, 'a', 'dog'))
    assert vocabulary.encode(['a', 'bear']) == [3, UNKNOWN]
    assert vocabulary.decode([0, 3, 2, 1]) == 'a <UNK>'


@pytest.mark.parametrize('words', [('a', 'b', 'c'), (*SPECIAL_WORDS, 'a', 'a')])
def test_refuses_words_that_make_no_vocabulary(words):
    with pytest.raises(ValueError, match='vocabulary'):
        Vocabulary(words)
