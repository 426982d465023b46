from hypothesis import given
from hypothesis import strategies as st

from lib.captions.vocabulary import SPECIAL_TOKENS, UNK, Vocabulary

TOKENS = st.text(alphabet='abc', min_size=1, max_size=3) | st.sampled_from(SPECIAL_TOKENS)
CAPTIONS = st.lists(st.lists(TOKENS, min_size=1), min_size=1)


@given(CAPTIONS, st.integers(1, 4))
def test_contains_exactly_the_tokens_seen_at_least_min_count_times(captions, min_count):
    vocabulary = Vocabulary.from_captions(captions, min_count)
    all_tokens = [token for tokens in captions for token in tokens]
    expected = {
        token
        for token in all_tokens
        if all_tokens.count(token) >= min_count and token not in SPECIAL_TOKENS
    }
    assert vocabulary.tokens[:3] == SPECIAL_TOKENS
    assert set(vocabulary.tokens[3:]) == expected
    counts = [all_tokens.count(token) for token in vocabulary.tokens[3:]]
    assert counts == sorted(counts, reverse=True)


@given(CAPTIONS)
def test_decode_inverts_encode_and_special_tokens_in_captions_become_unk(captions):
    vocabulary = Vocabulary.from_captions(captions, 1)
    for tokens in captions:
        indices = vocabulary.encode(tokens)
        assert min(indices) >= UNK
        expected = ['<UNK>' if token in SPECIAL_TOKENS else token for token in tokens]
        assert vocabulary.decode(indices) == ' '.join(expected)


def test_unknown_tokens_become_unk_and_decode_drops_bos_and_eos():
    vocabulary = Vocabulary((*SPECIAL_TOKENS, 'a', 'dog'))
    assert vocabulary.encode(['a', 'bear']) == [3, UNK]
    assert vocabulary.decode([0, 3, 2, 1]) == 'a <UNK>'
