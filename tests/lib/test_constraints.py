from lib.beam_search import beam_search
from lib.constraints import MinimumLength, NoRepeatedNgrams
from tests.lib.plain_beam_search import plain_beam_search
from tests.lib.test_beam_search import assert_same, make_features
from tests.samples import small_model

import pytest


def is_new(n):
    """Says whether a word leaves every n words in a row of a sentence different."""
    def is_allowed(words, word):
        ngrams = [tuple([*words, word][start:start + n]) for start in range(len(words) + 2 - n)]
        return word == 1 or len(set(ngrams)) == len(ngrams)
    return is_allowed


@pytest.mark.parametrize('constraint, is_allowed', [
    (MinimumLength(4), lambda words, word: word != 1 or len(words) >= 4),
    (NoRepeatedNgrams(1), is_new(1)), (NoRepeatedNgrams(2), is_new(2)),
    (NoRepeatedNgrams(3), is_new(3))], ids=['length', '1-grams', '2-grams', '3-grams'])
@pytest.mark.parametrize('seed', range(3))
def test_equals_the_plain_search_that_leaves_words_out(constraint, is_allowed, seed):
    model = small_model(seed=seed).network
    features = make_features(5)
    results = beam_search(model, features, 6, 4, 12, constraints=[constraint])
    for feature, sentences in zip(features, results):
        assert_same(sentences, plain_beam_search(model, feature, 6, 4, 12, is_allowed=is_allowed))


def test_constraints_hold_together():
    model = small_model().network
    constraints = MinimumLength(5), NoRepeatedNgrams(2)
    for sentences in beam_search(model, make_features(5), 6, 4, 12, constraints=constraints):
        for sentence in sentences:
            pairs = list(zip(sentence.tokens, sentence.tokens[1:]))
            assert len(set(pairs)) == len(pairs) >= 4
