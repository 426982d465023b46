"""Intervals of scores, and comparisons."""

import numpy
import pytest

from lib.errors import InputError
from lib.evaluation.bootstrap import ImageScores, bootstrap_intervals, compare, resample
from lib.evaluation.metrics import CaptionScorer

pytest.importorskip('pycocoevalcap', reason='requirements.txt')

WORDS = ['a', 'dog', 'cat', 'runs', 'sleeps', 'on', 'the', 'beach']


def random_captions(n, seed, n_words=(3, 9)):
    rng = numpy.random.RandomState(seed)
    return [' '.join(rng.choice(WORDS, rng.randint(*n_words))) for _ in range(n)]


def scored(captions, references):
    return CaptionScorer([[text] for text in references], with_java=False)(captions)


def test_scores_of_all_images_are_those_of_the_scorer():
    scores, of_images = scored(random_captions(40, 0), random_captions(40, 1))
    assert of_images.scores(numpy.ones((1, 40))).keys() == scores.keys()
    for name, (value,) in of_images.scores(numpy.ones((1, 40))).items():
        assert value == pytest.approx(scores[name], abs=1e-9)


def test_resampled_scores_are_those_of_repeated_images():
    captions, references = random_captions(10, 2), random_captions(10, 3)
    _, of_images = scored(captions, references)
    counts = numpy.array([3, 0, 1, 1, 0, 2, 0, 0, 1, 2])
    chosen = numpy.repeat(numpy.arange(10), counts)
    expected, _ = scored([captions[n] for n in chosen], [references[n] for n in chosen])
    actual = of_images.scores(counts[None].astype(float))
    for name in 'BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4', 'ROUGE-L':
        # CIDEr's document frequencies would change.
        assert actual[name][0] == pytest.approx(expected[name], abs=1e-9)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = numpy.random.RandomState(0).randn(400)
    of_images = ImageScores(numpy.ones((400, 10)), {'CIDEr': values})
    scores = {name: value for name, (value,) in of_images.scores(numpy.ones((1, 400))).items()}
    low, high = bootstrap_intervals(resample(scores, of_images))['CIDEr']
    error = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - error, abs=0.02)
    assert high == pytest.approx(values.mean() + error, abs=0.02)


def test_a_score_that_is_not_quite_a_mean_keeps_its_place():
    of_images = ImageScores(numpy.ones((50, 10)), {'METEOR': numpy.linspace(0, 1, 50)})
    scores = {f'BLEU-{n}': 1.0 for n in range(1, 5)} | {'METEOR': 0.6}
    low, high = bootstrap_intervals(resample(scores, of_images))['METEOR']
    assert low < 0.6 < high
    assert (low + high) / 2 == pytest.approx(0.6, abs=0.01)


def test_intervals_are_the_same_every_time():
    of_captions = scored(random_captions(30, 4), random_captions(30, 5))
    first, second = (bootstrap_intervals(resample(*of_captions)) for _ in range(2))
    assert first == second


def test_a_better_program_is_told_from_an_equal_one():
    references = random_captions(60, 6)
    worse = random_captions(60, 7)
    better = [*references[:30], *worse[30:]]
    better, worse = (
        (scores, resample(scores, of_images))
        for scores, of_images in (scored(better, references), scored(worse, references))
    )
    for name, difference in compare(*better, *worse).items():
        assert difference.value == pytest.approx(better[0][name] - worse[0][name])
        assert 0 < difference.low < difference.value < difference.high
        assert difference.p < 0.01
    for difference in compare(*worse, *worse).values():
        assert difference == (0, 0, 0, 1)
    for name, difference in compare(*worse, *better).items():
        assert difference.value == -compare(*better, *worse)[name].value


def test_no_difference_has_probability_zero():
    # A difference of all images could still come from a resample that was not drawn.
    of_images = [
        ImageScores(numpy.ones((50, 10)), {'CIDEr': numpy.full(50, n)}) for n in (0.0, 1.0)
    ]
    scores = [dict.fromkeys(of_images[0].scores(numpy.ones((1, 50))), n) for n in (0.0, 1.0)]
    first, second = ((scores[n], resample(scores[n], of_images[n])) for n in range(2))
    assert compare(*first, *second)['CIDEr'].p == pytest.approx(2 / 2001)


def test_one_image_tells_nothing_of_others():
    of_one = scored(['a dog runs'], ['a dog sleeps'])
    assert bootstrap_intervals(resample(*of_one)) == {}
    with pytest.raises(InputError, match='compare needs more than one image'):
        compare(of_one[0], resample(*of_one), of_one[0], resample(*of_one))
