import doctest

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.captions.vocabulary import EOS, SPECIAL_TOKENS, UNK, Vocabulary
from lib.decoding import constraints
from lib.decoding.beam_search import beam_search
from lib.decoding.constraints import (
    MinimumLength,
    NoBadEndings,
    NoRepeatedNgrams,
    NoRepetitions,
    NoUnknown,
    has_bad_ending,
    has_repetition,
    make_constraints,
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


def repeats_nothing(tokens, token):
    words = {AND: 'and', OR: 'or'}
    return token == EOS or not has_repetition(
        [words.get(index, str(index)) for index in (*tokens, token)]
    )


def ends_not_with(*bad_endings):
    return lambda tokens, token: token != EOS or not has_bad_ending(tokens, bad_endings)


def no_bad_endings(device, *bad_endings):
    return NoBadEndings(device.send(numpy.isin(numpy.arange(7), bad_endings)))


@pytest.mark.parametrize(
    'make_constraint, is_allowed',
    [
        (lambda device: no_bad_endings(device, WORD, OR), ends_not_with(WORD, OR)),
        (lambda _: NoRepetitions([AND, OR]), repeats_nothing),
        (lambda _: MinimumLength(4), lambda tokens, token: token != EOS or len(tokens) >= 4),
        (lambda _: NoUnknown(), lambda tokens, token: token != UNK),
        (lambda _: NoRepeatedNgrams(1), repeats_no_ngram(1)),
        (lambda _: NoRepeatedNgrams(2), repeats_no_ngram(2)),
        (lambda _: NoRepeatedNgrams(3), repeats_no_ngram(3)),
    ],
    ids=[
        'bad endings',
        'repetitions',
        'minimum length',
        'unknown',
        '1-grams',
        '2-grams',
        '3-grams',
    ],
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
    both = MinimumLength(5), NoRepeatedNgrams(2)
    for captions in beam_search(network, features, 6, 4, 12, constraints=both):
        for caption in captions:
            bigrams = list(zip(caption.tokens, caption.tokens[1:]))
            assert len(set(bigrams)) == len(bigrams) >= 4


@given(st.lists(st.integers(WORD, 6), max_size=12))
def test_a_repetition_is_what_evaluation_calls_so(tokens):
    if not all(repeats_nothing(tokens[:n], tokens[n]) for n in range(len(tokens))):
        return
    log_probs = numpy.zeros((1, 7))
    NoRepetitions([AND, OR])(log_probs, numpy.array([tokens], 'int32'), None)
    for token in range(EOS, 7):
        assert (log_probs[0, token] == 0) == repeats_nothing(tokens, token), token


def test_a_caption_with_a_bad_ending_or_a_repetition_is_better_than_none(device):
    network, features = small_model(words=['a']).network.to_device(device), random_features(3)
    both = [no_bad_endings(device, WORD, 2), NoRepetitions([-1, -1]), MinimumLength(9)]
    for captions in beam_search(network, device.send(features), 2, 1, 12, constraints=both):
        assert captions[0].log_prob > -1000
        assert len(captions[0].tokens) >= 9


def test_samples_have_no_bad_endings_and_no_repetitions(device):
    network, features = small_model(words=['a', 'and', 'or', 'dog']).network, random_features(20)
    network.to_device(device)
    numpy.random.seed(0)
    both = no_bad_endings(device, WORD), NoRepetitions([AND, OR])
    for captions in sample(network, device.send(features), 10, 3.0, 30, both):
        for caption in captions:
            if len(caption.tokens) < 30:
                assert ends_not_with(WORD)(caption.tokens, EOS)
            assert all(
                repeats_nothing(caption.tokens[:n], token) for n, token in enumerate(caption.tokens)
            )


def test_the_constraints_are_those_of_the_models_and_options():
    models = [small_model(words=['a', 'or']) for _ in range(3)]
    ensemble = Ensemble(models)
    (repetitions,) = make_constraints(ensemble, DecodingOptions())
    assert repetitions._conjunctions == [-1, AND]
    models[1].bad_endings, models[2].bad_endings = numpy.array([[3], [2]], 'int32')
    ensemble = Ensemble(models)
    assert ensemble.is_bad_ending.tolist() == [False, False, True, True, False]
    for options, types in (
        ({}, [NoBadEndings, NoRepetitions]),
        ({'repetitions': True}, [NoBadEndings]),
        ({'repetitions': True, 'bad_endings': True}, []),
        ({'min_length': 3, 'bad_endings': True}, [MinimumLength, NoRepetitions]),
        ({'no_repeat_ngram': 3, 'repetitions': True}, [NoRepeatedNgrams, NoBadEndings]),
    ):
        actual = make_constraints(ensemble, DecodingOptions(**options))
        assert [type(constraint) for constraint in actual] == types


def test_characters_may_be_doubled():
    model = small_model()
    model.vocabulary = Vocabulary((*SPECIAL_TOKENS, '妈', '在', '走', '路'), 'characters')
    assert make_constraints(Ensemble([model]), DecodingOptions()) == []


def test_a_bad_ending_is_a_last_word_of_the_given_ones():
    assert has_bad_ending(['the', 'dog', 'in'], {'a', 'dog', 'in'})
    assert not has_bad_ending(['a', 'lake'], {'a', 'dog', 'in'})
    assert not has_bad_ending([], {'a'})


@pytest.mark.parametrize(
    'caption, expected',
    [
        ('a man in a red shirt', False),
        ('a man man', True),
        ('the dog runs in the in the water', True),
        ('in front of a in front of a house', True),
        ('sits on a bench on a bench', True),
        ('a dog in a blue shirt and a man in a blue shirt', False),
        ('a man and a woman in black and a woman in black', True),
        ('a black and white dog', False),
        ('black and black dog', True),
        ('red or red', True),
        ('red and and', True),
        ('a dog and a dog', False),
        ('and', False),
        ('white and', False),
        ('', False),
    ],
)
def test_repetitions(caption, expected):
    assert has_repetition(caption.split()) == expected


def test_examples_of_the_docstrings():
    assert doctest.testmod(constraints).failed == 0
