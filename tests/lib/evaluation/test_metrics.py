import itertools
import math
import os
import shutil

import pytest

from lib.errors import InputError
from lib.evaluation.java import has_java, tokenize_treebank
from lib.evaluation.metrics import CaptionScorer

REFERENCES = [
    ['A dog runs on the beach.', 'The dog is running.'],
    ['Two men sit on a bench, talking.', 'Men talk on a bench'],
]

pytest.importorskip('pycocoevalcap')


def test_references_score_best():
    scorer = CaptionScorer(REFERENCES, with_java=False)
    best = scorer([captions[0] for captions in REFERENCES])
    worse = scorer(['', 'men'])
    assert list(best.values) == ['BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4', 'ROUGE-L', 'CIDEr']
    assert all(worse.values[name] < best.values[name] for name in best.values)
    assert best.values['BLEU-4'] == pytest.approx(1, abs=1e-6)
    assert best.values['ROUGE-L'] == pytest.approx(1, abs=1e-6)
    assert best.values['CIDEr'] == pytest.approx(best.means['CIDEr'].mean())
    assert worse.means['CIDEr'][0] == 0


def test_bleu_equals_its_definition():
    # The first caption shares 5 of its 6 unigrams and 3 of its 5 bigrams with its references,
    # the second one all 6 and 5. Neither is shorter than the closest reference, so there is no
    # brevity penalty.
    scores = CaptionScorer(REFERENCES, with_java=False)(
        ['a dog sits on the beach', 'two men sit on a bench']
    )
    assert scores.values['BLEU-1'] == pytest.approx(11 / 12)
    assert scores.values['BLEU-2'] == pytest.approx(math.sqrt(11 / 12 * 8 / 10))


def test_java_takes_lines_in_a_caption_and_captions_without_words(java):
    def break_lines(text):
        for separator in '\n\r\x0b\x0c\x85\u2028\u2029':
            text = text.replace(' ', separator, 1)
        return text

    caption = 'The dog is running on a long beach'
    of_dog, of_men = REFERENCES
    broken = [break_lines(text) for text in of_dog]
    scores = CaptionScorer([of_dog, broken, of_men, [*of_men, '...']], with_java=True)(
        [caption, break_lines(caption), of_men[0], '?!']
    )
    assert list(scores.values)[3:] == ['BLEU-4', 'METEOR', 'ROUGE-L', 'CIDEr']
    for name in 'METEOR', 'ROUGE-L', 'CIDEr':
        plain, with_lines, best, empty = scores.means[name]
        assert 0 == empty < plain == with_lines < best


def test_references_without_words_are_refused():
    with pytest.raises(InputError, match='have no words'):
        CaptionScorer([['...', '?'], ['!']], with_java=False)


@pytest.fixture
def broken_java(java, tmp_path, monkeypatch):
    """A function that puts a ``java`` first that does some shell commands, then runs Java."""

    def put(commands):
        path = tmp_path / 'java'
        path.write_text(f'#!/bin/sh\n{commands}\nexec {shutil.which("java")} "$@"\n')
        path.chmod(0o755)
        monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')

    return put


@pytest.mark.parametrize('failure', ['while read line; do echo 0,5; done', 'exit 1'])
def test_meteor_that_fails_is_left_out_with_its_reason(broken_java, failure):
    broken_java(f'case "$*" in *meteor*) {failure};; esac')
    scores = CaptionScorer(REFERENCES, with_java=True)(['a dog', 'men'])
    assert [*scores.values] == ['BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4', 'ROUGE-L', 'CIDEr']
    (remark,) = scores.remarks
    assert remark.startswith("METEOR is left out: METEOR's Java program failed")


@pytest.mark.parametrize('commands', ['head -c 8; exit 0', 'echo no luck >&2; exit 3'])
def test_a_tokenizer_that_does_not_finish_is_an_error(broken_java, commands):
    broken_java(commands)
    with pytest.raises(InputError, match='the Penn Treebank tokenizer failed'):
        CaptionScorer(REFERENCES, with_java=True)


def test_java_that_does_not_work_is_none(broken_java):
    assert has_java()
    broken_java('exit 1')
    assert not has_java()


def test_scores_do_not_depend_on_the_locale_or_a_writable_package(java, monkeypatch):
    captions = ['a dog runs on the beach', 'two men — à côté — talk']
    expected = CaptionScorer(REFERENCES, with_java=True)(captions)
    assert 0 < expected.values['METEOR'] < 1
    monkeypatch.setenv('JAVA_TOOL_OPTIONS', '-Duser.language=it -Duser.country=IT')
    monkeypatch.setenv('LC_ALL', 'de_DE.UTF-8')
    monkeypatch.setattr('tempfile.NamedTemporaryFile', None)  # which pycocoevalcap's own would call
    scores = CaptionScorer(REFERENCES, with_java=True)(captions)
    assert (scores.values, scores.remarks) == (expected.values, [])


def test_java_tokenizes_like_pycocoevalcap(java):
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions = [*itertools.chain(*REFERENCES), "A man's (red) T-shirt... isn't here!", '', '?!']
    (expected,) = PTBTokenizer().tokenize({0: [{'caption': text} for text in captions]}).values()
    assert tokenize_treebank(captions) == expected


def test_the_error_without_pycocoevalcap_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(
        InputError, match='scoring captions: needs pycocoevalcap; pip install pycocoevalcap'
    ):
        CaptionScorer([['a']], with_java=False)
