import numpy
import pytest

from lib.captions.vocabulary import BOS, EOS
from lib.decoding.beam_search import beam_search
from lib.decoding.diverse_beam_search import diverse_beam_search
from tests.helpers.assertions import assert_same_captions
from tests.helpers.samples import random_features, small_model


def plain_diverse_beam_search(network, feature, group_width, n_groups, penalty, max_length):
    """Searches as in Algorithm 1 of the paper; returns the tokens of each group's captions."""
    groups = [[([], 0.0, False, network.start(feature[None]))] for _ in range(n_groups)]
    for _ in range(max_length):
        chosen_tokens = []
        for number, beam in enumerate(groups):
            candidates = []
            for tokens, score, is_finished, state in beam:
                if is_finished:
                    candidates.append((tokens, score, True, None, None))
                    continue
                last_token = numpy.array([tokens[-1] if tokens else BOS], 'int32')
                log_probs, next_state = network.step(last_token, state)
                for token, log_prob in enumerate(log_probs[0].tolist()):
                    total = score + log_prob - penalty * chosen_tokens.count(token)
                    if token == EOS:
                        candidates.append((tokens, total, True, next_state, token))
                    else:
                        candidates.append(([*tokens, token], total, False, next_state, token))
            best = sorted(candidates, key=lambda candidate: -candidate[1])[:group_width]
            # Later groups avoid the tokens of unfinished captions only, so never </S>.
            chosen_tokens += [token for *_, is_finished, _, token in best if not is_finished]
            groups[number] = [candidate[:4] for candidate in best]
    return [[tokens for tokens, *_ in beam] for beam in groups]


@pytest.mark.parametrize('seed', range(4))
def test_equals_plain_diverse_beam_search(device, seed):
    network = small_model(seed=seed).network
    features = random_features(5)
    results = diverse_beam_search(
        network.copy('copy').to_device(device),
        device.send(features),
        beam_groups=3,
        diversity_penalty=0.8,
        beam_width=6,
        top=6,
        max_length=7,
    )
    for feature, captions in zip(features, results):
        expected = plain_diverse_beam_search(network, feature, 2, 3, 0.8, 7)
        assert sorted(caption.tokens for caption in captions) == sorted(
            tokens for group in expected for tokens in group
        )


def test_no_caption_is_returned_twice_if_there_are_enough():
    network, features = small_model().network, random_features(8)
    options = {'beam_groups': 5, 'diversity_penalty': 0, 'beam_width': 20, 'max_length': 9}
    for captions in diverse_beam_search(network, features, top=4, **options):
        # Without a penalty, all groups find the same four captions.
        assert len({tuple(caption.tokens) for caption in captions}) == 4
    for captions in diverse_beam_search(network, features, top=20, **options):
        assert len(captions) == 20


def test_one_group_equals_beam_search(device):
    network, features = small_model().network.to_device(device), device.send(random_features(4))
    results = diverse_beam_search(network, features, 1, 1.0, beam_width=3, top=3, max_length=9)
    for captions, expected in zip(results, beam_search(network, features, 3, 3, 9)):
        assert_same_captions(captions, expected)


def test_groups_without_a_penalty_equal_beam_search(device):
    network, features = small_model().network.to_device(device), device.send(random_features(4))
    results = diverse_beam_search(network, features, 2, 0.0, beam_width=6, top=6, max_length=9)
    for captions, expected in zip(results, beam_search(network, features, 3, 3, 9)):
        assert_same_captions(captions, [caption for caption in expected for _ in range(2)])


def test_a_higher_penalty_gives_more_distinct_captions(device):
    network = small_model(seed=1).network.to_device(device)
    features = device.send(random_features(8))
    n_distinct = []
    for penalty in 0, 0.5, 3:
        results = diverse_beam_search(
            network, features, 6, penalty, beam_width=6, top=6, max_length=9
        )
        n_distinct.append(
            sum(len({tuple(caption.tokens) for caption in captions}) for captions in results)
        )
    assert n_distinct[0] == 8
    assert n_distinct[0] < n_distinct[1] <= n_distinct[2]


def test_a_beam_width_that_is_not_a_multiple_of_the_groups_is_rejected():
    with pytest.raises(ValueError, match='5 cannot be divided into 2'):
        diverse_beam_search(small_model().network, random_features(1), 2, 1.0, beam_width=5)
