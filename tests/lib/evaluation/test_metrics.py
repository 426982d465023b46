import math
import os
import shutil
import signal

import pytest

from lib.errors import InputError
from lib.evaluation.metrics import CaptionScorer

REFERENCES = [
    ['A dog runs on the beach.', 'The dog is running.'],
    ['Two men sit on a bench, talking.', 'Men talk on a bench'],
]

pytest.importorskip('pycocoevalcap', reason='requirements-eval.txt')


@pytest.fixture(params=[True, False], ids=['java', 'no java'])
def with_java(request):
    if request.param:
        request.getfixturevalue('java')
    return request.param


def test_references_score_best(with_java):
    scores, of_images = CaptionScorer(REFERENCES, with_java)(
        [captions[0] for captions in REFERENCES]
    )
    bleu = ['BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4']
    meteor = ['METEOR'] if with_java else []
    assert list(scores) == [*bleu, *meteor, 'ROUGE-L', 'CIDEr']
    assert scores['BLEU-4'] == pytest.approx(1, abs=1e-6)
    assert scores['ROUGE-L'] == pytest.approx(1, abs=1e-6)
    if with_java:
        assert scores['METEOR'] == pytest.approx(1)
    worse, _ = CaptionScorer(REFERENCES, with_java)(['a dog', 'men'])
    assert all(worse[name] < scores[name] for name in scores)
    assert scores['CIDEr'] == pytest.approx(of_images.means['CIDEr'].mean())


def test_bleu_equals_its_definition(with_java):
    # The first caption shares 5 of its 6 unigrams and 3 of its 5 bigrams with its references,
    # the second one all 6 and 5. Neither is shorter than the closest reference, so there is no
    # brevity penalty.
    scores, _ = CaptionScorer(REFERENCES, with_java)(
        ['a dog sits on the beach', 'two men sit on a bench']
    )
    assert scores['BLEU-1'] == pytest.approx(11 / 12)
    assert scores['BLEU-2'] == pytest.approx(math.sqrt(11 / 12 * 8 / 10))


def test_an_empty_caption_scores_zero(with_java):
    scores, of_images = CaptionScorer(REFERENCES, with_java)(['', 'Men talk on a bench'])
    assert of_images.means['CIDEr'][0] == 0
    assert scores['BLEU-1'] < 1


def test_lines_in_a_caption_do_not_become_captions(with_java):
    def break_lines(text):
        for separator in '\n\r\x0b\x0c\x85\u2028\u2029':
            text = text.replace(' ', separator, 1)
        return text

    captions = ['The dog is running on a long beach', 'Men talk on a bench']
    expected, _ = CaptionScorer(REFERENCES, with_java)(captions)
    broken = [[*map(break_lines, texts)] for texts in REFERENCES]
    assert CaptionScorer(broken, with_java)([*map(break_lines, captions)])[0] == expected


def test_captions_of_punctuation_alone_count_as_empty(with_java):
    references = [[*REFERENCES[0], '...'], REFERENCES[1]]
    _, of_images = CaptionScorer(references, with_java)(['A dog runs on the beach', '?!'])
    cider = of_images.means['CIDEr']
    assert cider[0] > 0
    assert cider[1] == 0
    with pytest.raises(InputError, match='have no words'):
        CaptionScorer([['...', '?'], ['!']], with_java)


@pytest.fixture
def broken_java(java, tmp_path, monkeypatch):
    """A function that puts a ``java`` first that does some shell commands, then runs Java."""

    def put(commands):
        path = tmp_path / 'java'
        path.write_text(f'#!/bin/sh\n{commands}\nexec {shutil.which("java")} "$@"\n')
        path.chmod(0o755)
        monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')

    return put


def test_java_that_cannot_tokenize_is_named(broken_java):
    broken_java('exit 1')
    with pytest.raises(InputError, match='tokenizer failed; is java working'):
        CaptionScorer(REFERENCES, with_java=True)


# Or its destructor would print a traceback.
@pytest.mark.filterwarnings('error::pytest.PytestUnraisableExceptionWarning')
def test_meteor_that_fails_is_named(broken_java):
    broken_java('[ "$1" = -jar ] && exit 1')
    with pytest.raises(InputError, match='METEOR failed; is java working'):
        CaptionScorer(REFERENCES, with_java=True)(['a dog', 'men'])


def test_an_interruption_ends_meteor(broken_java):
    broken_java('[ "$1" = -jar ] && sleep 5')
    scorer = CaptionScorer(REFERENCES, with_java=True)
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 3)  # the tokenizer takes one
    try:
        with pytest.raises(KeyboardInterrupt):
            scorer(['a dog', 'men'])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def test_the_error_without_pycocoevalcap_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(
        InputError, match='scoring captions: needs pycocoevalcap; pip install pycocoevalcap'
    ):
        CaptionScorer([['a']], with_java=False)
