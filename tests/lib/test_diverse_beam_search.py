from lib.beam_search import beam_search
from lib.diverse_beam_search import diverse_beam_search
from tests.lib.test_beam_search import assert_same, make_features
from tests.samples import small_model

import numpy
import pytest


def plain_diverse_search(model, feature, width, n_groups, cost, max_length):
    """All groups step by step, as in Algorithm 1 of the paper; returns their sentences."""
    groups = [[([], 0.0, False, model.start(feature[None]))] for _ in range(n_groups)]
    for _ in range(max_length):
        chosen = []
        for number, beam in enumerate(groups):
            candidates = []
            for words, score, finished, state in beam:
                if finished:
                    candidates.append((words, score, True, None, None))
                    continue
                log_probs, next_state = model.step(
                    numpy.array([words[-1] if words else 0], 'int32'), state)
                for word, log_prob in enumerate(log_probs[0].tolist()):
                    total = score + log_prob - cost * chosen.count(word)
                    candidates.append(([*words, word] if word != 1 else words, total, word == 1,
                                       next_state, word))
            best = sorted(candidates, key=lambda candidate: -candidate[1])[:width]
            # Finished sentences have no words left that could be avoided.
            chosen += [word for *_, finished, _, word in best if not finished]
            groups[number] = [candidate[:4] for candidate in best]
    return [[words for words, *_ in beam] for beam in groups]


@pytest.mark.parametrize('seed', range(4))
def test_equals_the_plain_search(seed):
    model = small_model(seed=seed).network
    features = make_features(5)
    results = diverse_beam_search(model, features, 6, 6, 7, groups=3, diversity=0.8)
    for feature, sentences in zip(features, results):
        expected = plain_diverse_search(model, feature, 2, 3, 0.8, 7)
        assert sorted(sentence.tokens for sentence in sentences) == sorted(
            words for beam in expected for words in beam)


def test_without_cost_or_groups_it_is_beam_search():
    model = small_model().network
    features = make_features(4)
    plain = beam_search(model, features, 3, 3, 9)
    for sentences, expected in zip(
            diverse_beam_search(model, features, 3, 3, 9, groups=1, diversity=1.0), plain):
        assert_same(sentences, expected)
    for sentences, expected in zip(
            diverse_beam_search(model, features, 6, 6, 9, groups=2, diversity=0.0), plain):
        assert_same(sentences, [each for each in expected for _ in range(2)])


def test_captions_differ_more_the_more_it_costs():
    model = small_model(seed=1).network
    features = make_features(8)
    distinct = [sum(len({tuple(sentence.tokens) for sentence in sentences}) for sentences in
                    diverse_beam_search(model, features, 6, 6, 9, groups=6, diversity=cost))
                for cost in (0, 0.5, 3)]
    assert distinct[0] == 8
    assert distinct[0] < distinct[1] <= distinct[2]


def test_unequal_groups_are_refused():
    with pytest.raises(ValueError, match='5 cannot be divided into 2'):
        diverse_beam_search(small_model().network, make_features(1), 5, 5, 9, 2, 1.0)
