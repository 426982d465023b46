import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lib.evaluation.faults import stutters

from lib.captions.vocabulary import EOS, SPECIAL_TOKENS, Vocabulary
from lib.decoding.beam_search import beam_search
from lib.decoding.constraints import (
    KnownEndings,
    MinimumLength,
    NoRepeatedNgrams,
    NoStutter,
    fault_constraints,
)
from lib.decoding.ensemble import Ensemble
from lib.decoding.options import DecodingOptions
from lib.decoding.sampling import sample
from tests.helpers.assertions import assert_same_captions
from tests.helpers.plain_beam_search import plain_beam_search
from tests.helpers.samples import random_features, small_model


def repeats_no_ngram(n):
    """Returns a function that tells whether no n-gram occurs twice if a token is appended."""

    def is_allowed(tokens, token):
        extended = [*tokens, token]
        ngrams = [tuple(extended[start : start + n]) for start in range(len(extended) + 1 - n)]
        return token == EOS or len(set(ngrams)) == len(ngrams)

    return is_allowed


# Tokens of small models: a word, "and" and "or".
WORD, AND, OR = len(SPECIAL_TOKENS), 4, 5


def stutters_not(tokens, token):
    words = {AND: 'and', OR: 'or'}
    return token == EOS or not stutters(
        [words.get(index, str(index)) for index in (*tokens, token)]
    )


def ends_not_with(*never_last):
    return lambda tokens, token: token != EOS or not tokens or tokens[-1] not in never_last


def known_endings(device, *never_last):
    return KnownEndings(device.send(numpy.isin(numpy.arange(7), never_last)))


@pytest.mark.parametrize(
    'make_constraint, is_allowed',
    [
        (lambda device: known_endings(device, WORD, OR), ends_not_with(WORD, OR)),
        (lambda _: NoStutter([AND, OR]), stutters_not),
        (lambda _: MinimumLength(4), lambda tokens, token: token != EOS or len(tokens) >= 4),
        (lambda _: NoRepeatedNgrams(1), repeats_no_ngram(1)),
        (lambda _: NoRepeatedNgrams(2), repeats_no_ngram(2)),
        (lambda _: NoRepeatedNgrams(3), repeats_no_ngram(3)),
    ],
    ids=['endings', 'stutter', 'minimum length', '1-grams', '2-grams', '3-grams'],
)
@pytest.mark.parametrize('seed', range(3))
def test_equals_plain_beam_search_without_the_forbidden_tokens(
    device, make_constraint, is_allowed, seed
):
    network = small_model(seed=seed).network
    features = random_features(5)
    results = beam_search(
        network.copy('copy').to_device(device),
        device.send(features),
        *(6, 4, 12),
        constraints=[make_constraint(device)],
    )
    for feature, captions in zip(features, results):
        assert_same_captions(
            captions, plain_beam_search(network, feature, 6, 4, 12, is_allowed=is_allowed)
        )


def test_constraints_can_be_combined(device):
    network, features = small_model().network.to_device(device), device.send(random_features(5))
    constraints = MinimumLength(5), NoRepeatedNgrams(2)
    for captions in beam_search(network, features, 6, 4, 12, constraints=constraints):
        for caption in captions:
            bigrams = list(zip(caption.tokens, caption.tokens[1:]))
            assert len(set(bigrams)) == len(bigrams) >= 4


@given(st.lists(st.integers(WORD, 6), max_size=12))
def test_stutter_is_what_evaluation_calls_so(tokens):
    if not all(stutters_not(tokens[:n], tokens[n]) for n in range(len(tokens))):
        return
    log_probs = numpy.zeros((1, 7))
    NoStutter([AND, OR])(log_probs, numpy.array([tokens], 'int32'), None)
    for token in range(EOS, 7):
        assert (log_probs[0, token] == 0) == stutters_not(tokens, token), token


def test_a_caption_with_a_fault_is_better_than_none(device):
    network, features = small_model(words=['a']).network.to_device(device), random_features(3)
    constraints = [known_endings(device, WORD, 2), NoStutter([-1, -1]), MinimumLength(9)]
    for captions in beam_search(network, device.send(features), 2, 1, 12, constraints=constraints):
        assert captions[0].log_prob > -1000
        assert len(captions[0].tokens) >= 9


def test_samples_have_no_faults(device):
    network, features = small_model(words=['a', 'and', 'or', 'dog']).network, random_features(20)
    network.to_device(device)
    numpy.random.seed(0)
    constraints = known_endings(device, WORD), NoStutter([AND, OR])
    for captions in sample(network, device.send(features), 10, 3.0, 30, constraints):
        for caption in captions:
            if len(caption.tokens) < 30:
                assert ends_not_with(WORD)(caption.tokens, EOS)
            assert all(
                stutters_not(caption.tokens[:n], token) for n, token in enumerate(caption.tokens)
            )


def test_the_constraints_are_those_of_the_models_and_options():
    models = [small_model(words=['a', 'or']) for _ in range(3)]
    ensemble = Ensemble(models)
    (stutter,) = fault_constraints(ensemble, DecodingOptions())
    assert stutter._conjunctions == [-1, AND]
    models[1].never_last, models[2].never_last = numpy.array([[3], [2]], 'int32')
    ensemble = Ensemble(models)
    assert ensemble.never_last.tolist() == [False, False, True, True, False]
    assert len(fault_constraints(ensemble, DecodingOptions())) == 2
    assert len(fault_constraints(ensemble, DecodingOptions(stutter=True))) == 1
    assert fault_constraints(ensemble, DecodingOptions(stutter=True, bad_endings=True)) == []


def test_characters_may_be_doubled():
    model = small_model()
    model.vocabulary = Vocabulary((*SPECIAL_TOKENS, '妈', '在', '走', '路'), 'characters')
    assert fault_constraints(Ensemble([model]), DecodingOptions()) == []
