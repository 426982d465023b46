"""Intervals of scores, and comparisons."""

import numpy
import pytest

from lib.errors import InputError
from lib.evaluation.metrics import CaptionScorer
from lib.evaluation.scores import Scores

pytest.importorskip('pycocoevalcap')

WORDS = ['a', 'dog', 'cat', 'runs', 'sleeps', 'on', 'the', 'beach']
# Of images whose captions are the only reference.
PERFECT_BLEU = numpy.ones((50, 10))


def random_captions(n, seed, n_words=(3, 9)):
    rng = numpy.random.RandomState(seed)
    return [' '.join(rng.choice(WORDS, rng.randint(*n_words))) for _ in range(n)]


def score(captions, references) -> Scores:
    return CaptionScorer([[text] for text in references], with_java=False)(captions)


def test_scores_of_all_images_are_those_of_the_scorer():
    scores = score(random_captions(40, 0), random_captions(40, 1))
    weighted = scores.weighted(numpy.ones((1, 40)))
    assert weighted.keys() == scores.values.keys()
    for name, (value,) in weighted.items():
        assert value == pytest.approx(scores.values[name], abs=1e-9)


def test_resampled_scores_are_those_of_repeated_images():
    captions = random_captions(10, 2)
    references = random_captions(10, 3)
    counts = numpy.array([3, 0, 1, 1, 0, 2, 0, 0, 1, 2])
    chosen = numpy.repeat(numpy.arange(10), counts)
    expected = score([captions[n] for n in chosen], [references[n] for n in chosen]).values
    actual = score(captions, references).weighted(counts[None].astype(float))
    for name in 'BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4', 'ROUGE-L':
        # CIDEr's document frequencies would change.
        assert actual[name][0] == pytest.approx(expected[name], abs=1e-9)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    cider = numpy.random.RandomState(0).randn(400)
    scores = Scores({}, numpy.ones((400, 10)), {'CIDEr': cider})
    for name, (value,) in scores.weighted(numpy.ones((1, 400))).items():
        scores.values[name] = value
    low, high = scores.intervals()['CIDEr']
    error = 1.96 * cider.std() / 20
    assert low == pytest.approx(cider.mean() - error, abs=0.02)
    assert high == pytest.approx(cider.mean() + error, abs=0.02)


def test_the_interval_of_a_score_that_is_not_quite_a_mean_surrounds_it():
    values = {**{f'BLEU-{n}': 1.0 for n in range(1, 5)}, 'METEOR': 0.6}
    scores = Scores(values, PERFECT_BLEU, {'METEOR': numpy.linspace(0, 1, 50)})
    low, high = scores.intervals()['METEOR']
    assert low < 0.6 < high
    assert (low + high) / 2 == pytest.approx(0.6, abs=0.01)


def test_a_better_program_is_told_from_an_equal_one():
    references = random_captions(60, 6)
    bad_captions = random_captions(60, 7)
    worse = score(bad_captions, references)
    better = score([*references[:30], *bad_captions[30:]], references)
    for name, difference in better.compare(worse).items():
        assert difference.value == pytest.approx(better.values[name] - worse.values[name])
        assert 0 < difference.low < difference.value < difference.high
        assert difference.p < 0.01
        assert worse.compare(better)[name].value == -difference.value
    # The draws are the same every time.
    for difference in worse.compare(score(bad_captions, references)).values():
        assert difference == (0, 0, 0, 1)


def test_no_difference_has_probability_zero():
    # A difference of all images could still come from a resample that was not drawn.
    names = [f'BLEU-{n}' for n in range(1, 5)] + ['CIDEr']
    zero, one = (
        Scores(dict.fromkeys(names, n), PERFECT_BLEU, {'CIDEr': numpy.full(50, n)})
        for n in (0.0, 1.0)
    )
    assert zero.compare(one)['CIDEr'].p == pytest.approx(2 / 2001)


def test_one_image_tells_nothing_about_others():
    scores = score(['a dog runs'], ['a dog sleeps'])
    assert scores.intervals() == {}
    with pytest.raises(InputError, match='compare needs more than one image'):
        scores.compare(scores)
