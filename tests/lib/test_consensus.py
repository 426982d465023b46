from lib.beam_search import Sentence
from lib.consensus import by_consensus

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

BEAMS = st.lists(
    st.builds(Sentence, st.lists(st.integers(3, 6), max_size=8), st.floats(-30, 0)),
    min_size=1, max_size=7, unique_by=lambda sentence: tuple(sentence.tokens))


def ngrams(tokens):
    return [tokens[start:end] for start in range(len(tokens))
            for end in range(start + 1, min(start + 4, len(tokens)) + 1)]


def plain_f1(a, b):
    """Harmonic mean of precision and recall, n-grams crossed out one by one."""
    if a == b:
        return 1
    a, b = ngrams(a), ngrams(b)
    left, n_common = list(b), 0
    for ngram in a:
        if ngram in left:
            left.remove(ngram)
            n_common += 1
    if not n_common:
        return 0
    precision, recall = n_common / len(a), n_common / len(b)
    return 2 * precision * recall / (precision + recall)


@given(BEAMS, st.sampled_from([0.5, 1, 4]))
def test_equals_the_plain_definition(beam, temperature):
    total = sum(numpy.exp(other.log_prob / temperature) for other in beam)
    gains = [sum(plain_f1(sentence.tokens, other.tokens) * numpy.exp(other.log_prob / temperature)
                 for other in beam) / total for sentence in beam]
    ranked = by_consensus(beam, temperature)
    assert sorted(map(repr, ranked)) == sorted(map(repr, beam))
    gain_of = {id(sentence): gain for sentence, gain in zip(beam, gains)}
    assert [gain_of[id(sentence)] for sentence in ranked] == pytest.approx(
        sorted(gains, reverse=True))


@given(BEAMS)
def test_without_temperature_the_most_probable_wins(beam):
    best = max(sentence.log_prob for sentence in beam)
    assert by_consensus(beam, 1e-9)[0].log_prob == pytest.approx(best, abs=1e-7)


def test_the_common_ground_wins_and_ties_keep_their_order():
    beam = [Sentence([9], -1), Sentence([3, 4, 5], -1.1), Sentence([3, 4, 6], -1.2)]
    assert by_consensus(beam, 4)[0] == beam[1]
    alike = [Sentence([number], -1) for number in range(3, 6)]
    assert by_consensus(alike, 4) == alike
