import dataclasses
import itertools
import math
import os
import re

import numpy
import pytest

from lib.captions.vocabulary import BOS, UNK
from lib.cli.parser import ArgumentParser
from lib.decoding.beam_search import beam_search
from lib.decoding.constraints import MinimumLength, NoRepeatedNgrams
from lib.decoding.decode import SEARCHES, decode
from lib.decoding.diverse_beam_search import diverse_beam_search
from lib.decoding.ensemble import Ensemble
from lib.decoding.flags import add_decoding_flags, decoding_options
from lib.decoding.minimum_bayes_risk import mbr_rerank
from lib.decoding.neighbors import References
from lib.decoding.options import DecodingOptions
from lib.decoding.rescoring import rescore
from lib.decoding.sampling import sample
from tests.helpers.assertions import assert_same_captions
from tests.helpers.samples import random_features, small_model
from tests.helpers.scripts import ROOT

N_IMAGES = 6
# Narrower and shorter than the defaults, so that the tests take less time.
SEARCH = {'beam_width': 6, 'top': 3, 'max_length': 8}
DIVERSE = {'search': 'diverse', 'beam_groups': 2}
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
def ensemble(device):
    """An ensemble of one network whose captions differ in length, so that every option matters."""
    model = small_model(words=('a', 'dog', 'cat', 'runs', 'home'), seed=2)
    model.network.to_device(device)
    return Ensemble([model])


@pytest.fixture
def features(device):
    return device.send(random_features(N_IMAGES))


def decode_with(ensemble, features, **options):
    numpy.random.seed(5)
    return decode(ensemble, features, DecodingOptions(**options))


def test_default_is_beam_search_of_width_20_for_5_captions(ensemble, features):
    captions = decode_with(ensemble, features)
    assert captions == beam_search(ensemble.networks[0], features, 20, 5, 60)
    assert [len(best) for best in captions] == [5] * N_IMAGES


@pytest.mark.parametrize('option, value, arguments', SEARCH_OPTIONS)
def test_every_option_reaches_beam_search(ensemble, features, option, value, arguments):
    captions = decode_with(ensemble, features, **SEARCH | {option: value})
    assert captions == beam_search(ensemble, features, **SEARCH | arguments)
    assert captions != beam_search(ensemble, features, **SEARCH)


@pytest.mark.parametrize(
    'option, value, arguments',
    [
        *SEARCH_OPTIONS,
        ('beam_groups', 3, {'beam_groups': 3}),
        ('diversity_penalty', 3.0, {'diversity_penalty': 3.0}),
    ],
)
def test_every_option_reaches_diverse_beam_search(ensemble, features, option, value, arguments):
    defaults = SEARCH | {'beam_groups': 2, 'diversity_penalty': 0.5}
    captions = decode_with(ensemble, features, **SEARCH | DIVERSE | {option: value})
    assert captions == diverse_beam_search(ensemble, features, **defaults | arguments)
    assert captions != diverse_beam_search(ensemble, features, **defaults)


@pytest.mark.parametrize(
    'option, value, arguments',
    [
        ('top', 30, {'top': 30}),
        ('max_length', 3, {'max_length': 3}),
        ('temperature', 0.3, {'temperature': 0.3}),
        *CONSTRAINTS,
    ],
)
def test_every_option_reaches_sampling(ensemble, features, option, value, arguments):
    def draw(**arguments):
        numpy.random.seed(5)
        return sample(ensemble, features, **arguments)

    options = {'search': 'sample', 'beam_width': 4, 'top': 9}
    captions = decode_with(ensemble, features, **options | {option: value})
    assert captions == draw(**{'top': 9} | arguments)
    assert captions != draw(top=9)


def test_a_registered_search_gets_the_options_that_its_parameters_name(
    ensemble, features, monkeypatch
):
    def search(model, features, temperature, constraints, other=7):
        return model, features, temperature, constraints, other

    monkeypatch.setitem(SEARCHES, 'other', search)
    options = DecodingOptions(search='other', temperature=0.25, min_length=3)
    model, given, temperature, (constraint,), other = decode(ensemble, features, options)
    assert model is ensemble
    assert given is features
    assert isinstance(constraint, MinimumLength)
    assert (temperature, other) == (0.25, 7)
    assert not options.has_beam


def test_the_decoder_of_the_documentation_is_greedy_search(ensemble, features, monkeypatch):
    with open(os.path.join(ROOT, 'docs', 'decoding.md'), encoding='utf-8') as file:
        (code,) = re.findall('```python\n(import chainer\n.*?)```', file.read(), re.DOTALL)
    namespace = {}
    exec(code, namespace)
    monkeypatch.setitem(SEARCHES, 'greedy', namespace['greedy_search'])
    for options in {}, {'max_length': 4, 'min_length': 3}:
        captions = decode_with(ensemble, features, search='greedy', **options)
        expected = decode_with(ensemble, features, beam_width=1, top=1, **options)
        for actual, best in zip(captions, expected, strict=True):
            assert_same_captions(actual, best)
    parser = ArgumentParser('')
    add_decoding_flags(parser)
    options = decoding_options(parser.parse_args(['--search', 'greedy', '--max-length', '7']))
    assert options == DecodingOptions(search='greedy', max_length=7)


@pytest.mark.parametrize('search', [{}, DIVERSE], ids=['beam', 'diverse'])
@pytest.mark.parametrize('changes', [{'mbr_samples': 30}, {'temperature': 3.0}, {'max_length': 3}])
def test_minimum_bayes_risk_ranks_the_whole_beam(ensemble, features, search, changes):
    options = DecodingOptions(**SEARCH | {'mbr_samples': 5} | search | changes)
    whole_beam = dataclasses.replace(options, mbr_samples=0, top=options.beam_width)
    beams = decode(ensemble, features, whole_beam)
    numpy.random.seed(5)
    reranked = mbr_rerank(
        ensemble, features, beams, options.mbr_samples, options.temperature, options.max_length
    )
    numpy.random.seed(5)
    captions = decode(ensemble, features, options)
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


@pytest.mark.parametrize(
    'changes', [{}, DIVERSE, {'min_length': 3}, {'no_repeat_ngram': 1}, {'max_length': 4}]
)
def test_minimum_bayes_risk_ranks_what_each_network_of_an_ensemble_finds(device, features, changes):
    models = make_models(device, 2, 3)
    ensemble = Ensemble(models)
    options = DecodingOptions(**SEARCH | {'mbr_samples': 30} | changes)
    whole_beam = dataclasses.replace(options, mbr_samples=0, top=options.beam_width)
    beams = [decode(Ensemble([model]), features, whole_beam) for model in models]
    candidates = []
    for beams_of_image in zip(*beams):
        by_log_prob = sorted(itertools.chain(*beams_of_image), key=lambda caption: caption.log_prob)
        distinct = {tuple(caption.tokens): caption for caption in by_log_prob}
        candidates.append(sorted(distinct.values(), key=lambda caption: -caption.log_prob))
    assert any(len(captions) > options.beam_width for captions in candidates)
    numpy.random.seed(5)
    reranked = mbr_rerank(ensemble, features, candidates, 30, max_length=options.max_length)
    best = [captions[: options.top] for captions in reranked]
    numpy.random.seed(5)
    results = decode(ensemble, features, options)
    for captions, expected in zip(results, rescore(ensemble, features, best, options.max_length)):
        assert_same_captions(captions, expected)
        for caption in captions:
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


@pytest.mark.parametrize(
    'options',
    [
        {'top': 20},
        {'top': 20, 'min_length': 4},
        {'top': 20, 'no_repeat_ngram': 1, 'max_length': 3},
        {'search': 'sample', 'top': 50},
        {'search': 'diverse', 'top': 20},
    ],
)
def test_captions_do_not_contain_the_start_token(device, options):
    model = small_model()
    model.network.output.b.array[BOS] = 3  # which a network that was hardly trained may prefer
    model.network.to_device(device)
    ensemble, features = Ensemble([model]), device.send(random_features(6))
    for captions in decode(ensemble, features, DecodingOptions(**{'max_length': 6, **options})):
        for caption in captions:
            assert BOS not in caption.tokens
            assert len(caption.tokens) >= options.get('min_length', 0)
