import math

from lib.errors import InputError
from lib.scores import CaptionScorer, has_java

import pytest

REFERENCES = [['A dog runs on the beach.', 'The dog is running.'],
              ['Two men sit on a bench, talking.', 'Men talk on a bench']]

pycocoevalcap = pytest.importorskip('pycocoevalcap', reason='requirements-eval.txt')


@pytest.fixture(params=[True, False], ids=['java', 'plain'])
def with_java(request):
    if request.param and not has_java():
        pytest.skip('no java')
    return request.param


def test_the_references_themselves_score_best(with_java):
    scores, cider = CaptionScorer(REFERENCES, with_java)([texts[0] for texts in REFERENCES])
    assert list(scores) == ['BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4',
                            *(['METEOR'] if with_java else []), 'ROUGE-L', 'CIDEr']
    assert scores['BLEU-4'] == pytest.approx(1, abs=1e-6)
    assert scores['ROUGE-L'] == pytest.approx(1, abs=1e-6)
    if with_java:
        assert scores['METEOR'] == pytest.approx(1)
    worse, _ = CaptionScorer(REFERENCES, with_java)(['a dog', 'men'])
    assert all(worse[name] < scores[name] for name in scores)
    assert scores['CIDEr'] == pytest.approx(sum(cider) / 2)


def test_bleu_is_that_of_its_definition(with_java):
    # Of "a dog sits on the beach" 5 of 6 words and 3 of 5 pairs are in the first reference, of
    # the other caption all 6 and 5; it is as short as a reference, so nothing is taken off.
    scores, _ = CaptionScorer(REFERENCES, with_java)(
        ['a dog sits on the beach', 'two men sit on a bench'])
    assert scores['BLEU-1'] == pytest.approx(11 / 12)
    assert scores['BLEU-2'] == pytest.approx(math.sqrt(11 / 12 * 8 / 10))


def test_an_empty_caption_scores_nothing(with_java):
    scores, cider = CaptionScorer(REFERENCES, with_java)(['', 'Men talk on a bench'])
    assert cider[0] == 0
    assert scores['BLEU-1'] < 1


def test_missing_package_is_said(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(InputError, match='requirements-eval'):
        CaptionScorer([['a']], with_java=False)
