import pytest

from lib.captions.vocabulary import EOS, UNK
from lib.decoding.beam_search import beam_search
from lib.decoding.constraints import MinimumLength, NoRepeatedNgrams, NoUnknown, make_constraints
from lib.decoding.options import DecodingOptions
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


@pytest.mark.parametrize(
    'constraint, is_allowed',
    [
        (MinimumLength(4), lambda tokens, token: token != EOS or len(tokens) >= 4),
        (NoUnknown(), lambda tokens, token: token != UNK),
        (NoRepeatedNgrams(1), repeats_no_ngram(1)),
        (NoRepeatedNgrams(2), repeats_no_ngram(2)),
        (NoRepeatedNgrams(3), repeats_no_ngram(3)),
    ],
    ids=['minimum length', 'unknown', '1-grams', '2-grams', '3-grams'],
)
@pytest.mark.parametrize('seed', range(3))
def test_equals_plain_beam_search_without_the_forbidden_tokens(
    device, constraint, is_allowed, seed
):
    network = small_model(seed=seed).network
    features = random_features(5)
    results = beam_search(
        network.copy('copy').to_device(device),
        device.send(features),
        *(6, 4, 12),
        constraints=[constraint],
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


def test_the_constraints_are_those_of_the_options():
    for options, types in (
        ({}, []),
        ({'min_length': 3, 'forbid_unknown': True}, [MinimumLength, NoUnknown]),
        ({'no_repeat_ngram': 3}, [NoRepeatedNgrams]),
    ):
        constraints = make_constraints(DecodingOptions(**options))
        assert [type(constraint) for constraint in constraints] == types
