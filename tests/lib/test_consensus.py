import math

from lib import consensus
from lib.beam_search import Sentence, beam_search
from lib.consensus import mean_cider, rank_by_consensus
from lib.sampling import sample
from tests.lib.test_beam_search import make_features
from tests.samples import small_model

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

SENTENCES = st.lists(st.lists(st.integers(2, 7), max_size=9), min_size=1, max_size=5)


def ngrams(tokens, n):
    return [tuple(tokens[start:start + n]) for start in range(len(tokens) - n + 1)]


def plain_cider(candidate, reference):
    """CIDEr-D of one sentence against one other, summed up n-gram by n-gram."""
    total = 0
    for n in 1, 2, 3, 4:
        every = sorted(set(ngrams(candidate, n) + ngrams(reference, n)))
        weights = [sum(math.log(10000 if token == 2 else token - 2) for token in ngram)
                   for ngram in every]
        a, b = ([ngrams(tokens, n).count(ngram) * weight for ngram, weight in zip(every, weights)]
                for tokens in (candidate, reference))
        norm = math.hypot(*a) * math.hypot(*b)
        if norm:
            total += sum(min(x, y) * y for ngram, x, y in zip(every, a, b)
                         if 2 not in ngram) / norm / 4
    return total * math.exp(-(len(candidate) - len(reference)) ** 2 / (2 * 6 ** 2))


@given(SENTENCES, SENTENCES)
def test_scores_equal_the_plain_definition(candidates, references):
    scores = mean_cider(candidates, references)
    assert scores == pytest.approx([
        sum(plain_cider(candidate, reference) for reference in references) / len(references)
        for candidate in candidates])


def test_rare_words_count_more_and_unknown_ones_are_no_match():
    frequent, rare, unknown = 4, 2000, 2
    reference = [frequent, rare, unknown]
    scores = mean_cider([[frequent, 5, 6, 7], [rare, 8, 9, 10], [unknown], [rare, unknown], [rare]],
                        [reference])
    assert 0 == scores[2] < scores[0] < scores[1]
    assert scores[3] < scores[4]


def test_the_common_ground_wins():
    scores = mean_cider([[9], [4, 5, 6], [4, 5, 7]], [[9], [4, 5, 6], [4, 5, 7], [4, 5, 6]])
    assert scores.argmax() == 1
    assert scores.argmin() == 0


@pytest.mark.parametrize('images_at_once', [1, 2, 5])
def test_ranks_by_the_score_against_drawn_captions(monkeypatch, images_at_once):
    monkeypatch.setattr(consensus, 'DRAWN_AT_ONCE', 30 * images_at_once)
    model = small_model(words=('a', 'dog', 'cat', 'runs', 'home')).network
    features = make_features(5)
    beams = beam_search(model, features, 6, 6, max_length=8)
    numpy.random.seed(4)
    ranked = rank_by_consensus(model, features, beams, 30, 0.7, 8)
    numpy.random.seed(4)
    drawn = [captions for start in range(0, 5, images_at_once)
             for captions in sample(model, features[start:start + images_at_once], 30, 0.7, 8)]
    for beam, order, references in zip(beams, ranked, drawn, strict=True):
        scores = [mean_cider([sentence.tokens], [other.tokens for other in references])[0]
                  for sentence in order]
        assert scores == sorted(scores, reverse=True)
        assert sorted(map(repr, order)) == sorted(map(repr, beam))
    assert ranked != beams


def test_sentences_alike_stay_in_order():
    model = small_model().network
    alike = [Sentence([3] * number, -number) for number in range(4)]
    assert rank_by_consensus(model, make_features(1), [alike], 5, max_length=3) == [alike]
