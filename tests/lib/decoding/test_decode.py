import dataclasses
import itertools
import math

import numpy
import pytest

from lib.captions.vocabulary import BOS, UNK
from lib.decoding.beam_search import beam_search
from lib.decoding.constraints import MinimumLength, NoRepeatedNgrams
from lib.decoding.diverse_beam_search import diverse_beam_search
from lib.decoding.ensemble import Ensemble
from lib.decoding.minimum_bayes_risk import mbr_rerank
from lib.decoding.neighbors import References
from lib.decoding.options import DecodingOptions, decode
from lib.decoding.rescoring import rescore
from lib.decoding.sampling import sample
from lib.errors import InputError
from tests.helpers.assertions import assert_same_captions
from tests.helpers.samples import random_features, small_model

N_IMAGES = 6
CAT = 5  # of the models of an ensemble
# Narrower and shorter than the defaults, so that the tests take less time.
SEARCH = {'beam_width': 6, 'top': 3, 'max_length': 8}
# Options, values that change the captions, and the arguments that the decoder must get.
CONSTRAINTS = [
    ('min_length', 5, {'constraints': [MinimumLength(5)]}),
    ('no_repeat_ngram', 1, {'constraints': [NoRepeatedNgrams(1)]}),
]
SEARCH_OPTIONS = [
    ('beam_width', 4, {'beam_width': 4}),
    ('top', 1, {'top': 1}),
    ('max_length', 3, {'max_length': 3}),
    ('length_normalization', 2.0, {'length_normalization': 2.0}),
    *CONSTRAINTS,
]


@pytest.fixture
def network(device):
    """A network whose captions differ in length, so that every option changes them."""
    model = small_model(words=('a', 'dog', 'cat', 'runs', 'home'), seed=2)
    return model.network.to_device(device)


@pytest.fixture
def features(device):
    return device.send(random_features(N_IMAGES))


def decode_with(network, features, **options):
    numpy.random.seed(5)
    return decode(network, features, DecodingOptions(**options))


def test_default_is_beam_search_of_width_20_for_5_captions(network, features):
    captions = decode_with(network, features)
    assert captions == beam_search(network, features, 20, 5, 60)
    assert [len(best) for best in captions] == [5] * N_IMAGES


@pytest.mark.parametrize('option, value, arguments', SEARCH_OPTIONS)
def test_every_option_reaches_beam_search(network, features, option, value, arguments):
    captions = decode_with(network, features, **SEARCH | {option: value})
    assert captions == beam_search(network, features, **SEARCH | arguments)
    assert captions != beam_search(network, features, **SEARCH)


@pytest.mark.parametrize(
    'option, value, arguments',
    [
        *SEARCH_OPTIONS,
        ('beam_groups', 3, {'beam_groups': 3}),
        ('diversity_penalty', 3.0, {'diversity_penalty': 3.0}),
    ],
)
def test_every_option_reaches_diverse_beam_search(network, features, option, value, arguments):
    defaults = SEARCH | {'beam_groups': 2, 'diversity_penalty': 0.5}
    captions = decode_with(network, features, **SEARCH | {'beam_groups': 2} | {option: value})
    assert captions == diverse_beam_search(network, features, **defaults | arguments)
    assert captions != diverse_beam_search(network, features, **defaults)


@pytest.mark.parametrize(
    'option, value, arguments',
    [
        ('top', 2, {'n_samples': 2}),
        ('max_length', 3, {'max_length': 3}),
        ('temperature', 0.3, {'temperature': 0.3}),
        *CONSTRAINTS,
    ],
)
def test_every_option_reaches_sampling(network, features, option, value, arguments):
    def draw(**arguments):
        numpy.random.seed(5)
        return sample(network, features, **arguments)

    defaults = {'n_samples': 9, 'temperature': 1.0, 'max_length': 60}
    captions = decode_with(
        network, features, **{'sample': True, 'beam_width': 4, 'top': 9} | {option: value}
    )
    assert captions == draw(**defaults | arguments)
    assert captions != draw(**defaults)


@pytest.mark.parametrize('groups', [{}, {'beam_groups': 2}], ids=['beam search', 'diverse'])
@pytest.mark.parametrize('changes', [{'mbr_samples': 30}, {'temperature': 3.0}, {'max_length': 3}])
def test_minimum_bayes_risk_ranks_the_whole_beam(network, features, groups, changes):
    options = DecodingOptions(**SEARCH | {'mbr_samples': 5} | groups | changes)
    whole_beam = dataclasses.replace(options, mbr_samples=0, top=options.beam_width)
    beams = decode(network, features, whole_beam)
    numpy.random.seed(5)
    reranked = mbr_rerank(
        network, features, beams, options.mbr_samples, options.temperature, options.max_length
    )
    numpy.random.seed(5)
    captions = decode(network, features, options)
    assert captions == [best[: options.top] for best in reranked]
    assert captions != [best[: options.top] for best in beams]


def make_models(device, *seeds):
    """Returns models of different sizes."""
    models = [
        small_model(words=('a', 'dog', 'cat', 'runs'), seed=seed, hidden_size=4 + seed)
        for seed in seeds
    ]
    for model in models:
        model.network.to_device(device)
    return models


def forbid_cats(ranked, tokens, images):
    ranked[:, CAT] -= 10_000


@pytest.mark.parametrize(
    'changes',
    [{}, {'beam_groups': 2}, {'min_length': 3}, {'no_repeat_ngram': 1}, {'max_length': 4}],
)
def test_minimum_bayes_risk_ranks_what_each_network_of_an_ensemble_finds(device, features, changes):
    models = make_models(device, 2, 3)
    options = DecodingOptions(**SEARCH | {'mbr_samples': 30} | changes)
    whole_beam = dataclasses.replace(options, mbr_samples=0, top=options.beam_width)
    beams = [
        decode(model.network, features, whole_beam, constraints=[forbid_cats]) for model in models
    ]
    candidates = []
    for beams_of_image in zip(*beams):
        by_log_prob = sorted(itertools.chain(*beams_of_image), key=lambda caption: caption.log_prob)
        distinct = {tuple(caption.tokens): caption for caption in by_log_prob}
        candidates.append(sorted(distinct.values(), key=lambda caption: -caption.log_prob))
    assert any(len(captions) > options.beam_width for captions in candidates)
    ensemble = Ensemble(models)
    numpy.random.seed(5)
    reranked = mbr_rerank(ensemble, features, candidates, 30, max_length=options.max_length)
    best = [captions[: options.top] for captions in reranked]
    numpy.random.seed(5)
    results = decode(ensemble, features, options, constraints=[forbid_cats])
    for captions, expected in zip(results, rescore(ensemble, features, best, options.max_length)):
        assert_same_captions(captions, expected)
        for caption in captions:
            assert CAT not in caption.tokens
            assert options.min_length <= len(caption.tokens) <= options.max_length


def test_captions_with_equal_gains_are_ranked_by_probability_in_any_order_of_models(
    device, features
):
    models = make_models(device, 2, 3)
    options = DecodingOptions(**SEARCH, mbr_neighbors=1)
    references = [References([[UNK]], numpy.ones(1))] * len(features)  # which matches nothing
    results, others = (
        decode(Ensemble(order), features, options, references) for order in (models, models[::-1])
    )
    beams = [beam_search(model.network, features, **SEARCH) for model in models]
    for captions, other, *beams_of_image in zip(results, others, *beams):
        assert_same_captions(captions, other)
        best = max(itertools.chain(*beams_of_image), key=lambda caption: caption.log_prob)
        assert captions[0].tokens == best.tokens


def test_a_network_that_finds_no_caption_leaves_those_of_others(device, features):
    silent, model = make_models(device, 2, 3)
    silent.network.output.b.array[BOS + 1 :] = -numpy.inf
    assert math.isinf(beam_search(silent.network, features, **SEARCH)[0][0].log_prob)
    options = DecodingOptions(**SEARCH, mbr_neighbors=1)
    references = [References([[UNK]], numpy.ones(1))] * len(features)
    results = decode(Ensemble([silent, model]), features, options, references)
    for captions, expected in zip(results, beam_search(model.network, features, **SEARCH)):
        assert [caption.tokens for caption in captions] == [c.tokens for c in expected]
        assert all(math.isfinite(caption.log_prob) for caption in captions)


@pytest.mark.parametrize('mbr', ['mbr_samples', 'mbr_neighbors'])
def test_an_ensemble_captions_no_images(device, features, mbr):
    ensemble = Ensemble(make_models(device, 2, 3))
    assert decode(ensemble, features[:0], DecodingOptions(**{mbr: 3}), []) == []


def test_an_ensemble_of_one_network_reranks_like_that_network(device, features):
    model = small_model(words=('a', 'dog', 'cat', 'runs', 'home'), seed=2)
    model.network.to_device(device)
    options = SEARCH | {'mbr_samples': 30}
    assert decode_with(Ensemble([model]), features, **options) == decode_with(
        model.network, features, **options
    )


@pytest.mark.parametrize(
    'options, at_fault',
    [
        ({'top': 21}, 'top'),
        ({'beam_width': 3, 'top': 4}, 'top'),
        ({'beam_width': 10, 'beam_groups': 3}, 'beam_groups'),
        ({'min_length': 61}, 'min_length'),
        ({'min_length': 5, 'max_length': 4}, 'min_length'),
        ({'sample': True, 'beam_groups': 2}, 'beam_groups'),
        ({'sample': True, 'mbr_samples': 10}, 'mbr_samples'),
        ({'beam_width': 0, 'top': 0}, 'beam_width'),
        ({'top': 0}, 'top'),
        ({'max_length': 0}, 'max_length'),
        ({'beam_groups': 0}, 'beam_groups'),
        ({'temperature': 0}, 'temperature'),
        ({'temperature': float('nan')}, 'temperature'),
        ({'temperature': float('inf')}, 'temperature'),
        ({'min_length': -1}, 'min_length'),
        ({'no_repeat_ngram': -1}, 'no_repeat_ngram'),
        ({'mbr_samples': -1}, 'mbr_samples'),
        ({'length_normalization': float('nan')}, 'length_normalization'),
        ({'diversity_penalty': -0.5}, 'diversity_penalty'),
    ],
)
def test_invalid_options_are_rejected(options, at_fault):
    with pytest.raises(InputError) as info:
        DecodingOptions(**options)
    assert info.value.option == at_fault


def test_sampling_may_return_more_captions_than_the_beam_width(network, features):
    captions = decode_with(network, features, sample=True, top=30)
    assert [len(samples) for samples in captions] == [30] * N_IMAGES


@pytest.mark.parametrize(
    'options',
    [
        {'top': 20},
        {'top': 20, 'min_length': 4},
        {'top': 20, 'no_repeat_ngram': 1, 'max_length': 3},
        {'sample': True, 'top': 50},
        {'beam_groups': 4, 'top': 20},
    ],
)
def test_captions_do_not_contain_the_start_token(device, options):
    model = small_model().network
    model.output.b.array[BOS] = 3  # which a network that was hardly trained may prefer
    model.to_device(device)
    features = device.send(random_features(6))
    for captions in decode(model, features, DecodingOptions(**{'max_length': 6, **options})):
        for caption in captions:
            assert BOS not in caption.tokens
            assert len(caption.tokens) >= options.get('min_length', 0)


@pytest.mark.parametrize(
    'options', [{'beam_width': '3'}, {'max_length': 1.5}, {'top': True}, {'sample': 'no'}]
)
def test_options_of_another_type_are_refused(options):
    with pytest.raises(InputError, match='is not of type'):
        DecodingOptions(**options)


@pytest.mark.parametrize(
    'options, top',
    [({}, 5), ({'beam_width': 3}, 3), ({'beam_width': 3, 'sample': True}, 5), ({'top': 2}, 2)],
)
def test_at_most_as_many_captions_as_the_beam_is_wide_are_returned(options, top):
    assert DecodingOptions(**options).top == top
