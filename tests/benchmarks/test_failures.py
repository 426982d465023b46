"""How captions fail, of two images whose numbers are computed by hand."""

import pytest

from benchmarks.word_classes import WORD_CLASSES, Comparison, compare, compare_people
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import CaptionedImage
from lib.captions.tokenizer import tokenize
from lib.evaluation.results_file import write_results
from tests.helpers.assertions import assert_input_error
from tests.helpers.scripts import run_script

CAPTIONS = ['a man in a red shirt is running', 'two dogs run in the snow']
REFERENCES = [
    ['A woman in a blue shirt runs.', 'A woman in a blue dress is running', 'a girl runs'],
    ['Two dogs run | in the snow', 'a dog in the snow', 'two dogs play'],
]
COLORS = {'red': 'red', 'blue': 'blue', 'gray': 'gray', 'grey': 'gray'}


def tokens_of(*texts):
    return [tokenize(text, 'words') for text in texts]


def write_captions(path, tokenizer='words'):
    images = [
        CaptionedImage(imgid, -1, f'{imgid}.jpg', 'val', tokens_of(*texts), texts)
        for imgid, texts in enumerate(REFERENCES)
    ]
    CaptionDataset.from_images(images, min_count=1, tokenizer=tokenizer).save(str(path))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('failures')
    write_captions(folder / 'captions.h5')
    write_results(str(folder / 'results.json'), [1, 0], CAPTIONS[::-1])
    return folder


@pytest.fixture(scope='module')
def tables(folder):
    """The rows of each table, without its header, by its title."""
    process = run_failures(folder)
    assert process.returncode == 0, process.stderr
    tables = {}
    for table in process.stdout.split('## ')[1:]:
        title, _, _, _, *rows = table.strip().splitlines()
        tables[title] = [row.removeprefix('| ').removesuffix(' |').split(' | ') for row in rows]
    return tables


def run_failures(folder, *flags, captions='captions.h5', results='results.json'):
    return run_script(
        'benchmarks.failures', folder / results, '-s', folder / captions, '--split', 'val', *flags
    )


@pytest.mark.parametrize(
    'caption, said, wrong, missed',
    [
        ('a red and grey dog', {'red', 'gray'}, {'red'}, set()),
        ('a dog', set(), set(), {'gray'}),
        ('a gray grey dog', {'gray'}, set(), set()),
    ],
)
def test_words_are_compared_with_those_of_people(caption, said, wrong, missed):
    references = tokens_of('a gray dog', 'a grey, grey dog', 'a gray and blue dog', 'a dog', 'it')
    comparison = compare(caption.split(), references, COLORS)
    assert comparison == Comparison(said, {'gray', 'blue'}, {'gray'})
    assert (comparison.wrong, comparison.missed) == (wrong, missed)


def test_half_of_the_people_are_no_agreement():
    assert compare([], [['red'], ['blue', 'red'], ['dog'], ['dog']], COLORS).agreed == set()


def test_people_are_compared_with_the_others():
    assert compare_people([[['red'], ['blue']], [['red']]], COLORS) == [
        Comparison({'red'}, {'blue'}, {'blue'}),
        Comparison({'blue'}, {'red'}, {'red'}),
    ]


def test_words_that_stand_for_others_stand_for_themselves():
    for words in WORD_CLASSES.values():
        assert all(words[word] == word for word in words.values())


def test_examples(tables):
    (best_cider, *best), (worst_cider, *worst) = tables['Best captions']
    assert best == ['1.jpg', CAPTIONS[1], r'Two dogs run \| in the snow']
    assert worst == ['0.jpg', CAPTIONS[0], REFERENCES[0][0]]
    assert float(best_cider) > float(worst_cider)
    assert tables['Worst captions'] == tables['Median captions'] == tables['Best captions']


def test_phrases(tables):
    phrases = {phrase: shares for phrase, *shares in tables['Favorite phrases']}
    assert phrases['man in a red'] == ['50.0 %', '0.0 %']
    assert phrases['two dogs run in'] == ['50.0 %', '16.7 %']
    assert tables['Most frequent captions'][-1] == ['together', '100.0 %']


def test_classes(tables):
    assert tables['Words by class'] == [
        ['person or animal', '2', '0.0 %', '2', '0.0 %', '0'],
        ['man, woman, boy, girl', '1', '100.0 %', '1', '100.0 %', '0'],
        ['number', '1', '0.0 %', '1', '0.0 %', '0'],
        ['color', '1', '100.0 %', '1', '100.0 %', '0'],
        ['place', '1', '0.0 %', '1', '0.0 %', '0'],
        ['action', '2', '0.0 %', '1', '0.0 %', '0'],
    ]
    # Only "girl" and the second image's "run" are in none of the two other captions.
    assert tables['The same of people, each against the others'] == [
        ['person or animal', '6', '0.0 %', '6', '0.0 %'],
        ['man, woman, boy, girl', '3', '33.3 %', '1', '100.0 %'],
        ['number', '2', '0.0 %', '1', '100.0 %'],
        ['color', '2', '0.0 %', '1', '100.0 %'],
        ['place', '2', '0.0 %', '1', '100.0 %'],
        ['action', '4', '25.0 %', '3', '0.0 %'],
    ]
    assert tables['With a word that no person uses'] == [['50.0 %', '33.3 %']]


def test_single_words_and_confusions(tables):
    words = {word: cells for word, *cells in tables['Word by word']}
    assert words['red'] == ['1', '100.0 %', '0', '']
    assert words['blue'] == ['0', '', '1', '100.0 %']
    assert tables['Confusions'] == [
        ['man, woman, boy, girl', 'man', 'woman', '1'],
        ['color', 'red', 'blue', '1'],
    ]


def test_mean_cider(tables):
    best, worst = (float(row[0]) for row in tables['Best captions'])
    rows = {name: (n, float(cider)) for name, n, cider in tables['Mean CIDEr']}
    for name, cider in (
        ('action: only others', (best + worst) / 2),
        ('color: none', best),
        ('color: one that no person uses', worst),
        ('words that no person uses: 0', best),
        ('words that no person uses: 2', worst),
        ('words: 6', best),
        ('words: 8', worst),
    ):
        n = '2' if name.startswith('action') else '1'
        assert rows[name] == (n, pytest.approx(cider, abs=0.01))


def test_what_cannot_be_compared_is_refused(folder):
    assert_input_error(run_failures(folder, '--split', 'test'), 'captions.h5: has no captions')
    assert_input_error(run_failures(folder, results='missing.json'), 'missing.json')
    write_captions(folder / 'characters.h5', tokenizer='characters')
    assert_input_error(
        run_failures(folder, captions='characters.h5'), 'characters.h5: is not split'
    )
