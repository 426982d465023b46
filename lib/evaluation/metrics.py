"""The standard metrics of captions: BLEU, METEOR, ROUGE-L and CIDEr.

They are computed by ``pycocoevalcap``, the COCO caption evaluation. Its METEOR and its Penn
Treebank tokenizer are Java programs.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess

import numpy

from lib.captions.tokenizer import tokenize
from lib.errors import InputError
from lib.evaluation.scores import Scores


def has_pycocoevalcap() -> bool:
    """Returns whether pycocoevalcap is installed."""
    return importlib.util.find_spec('pycocoevalcap') is not None


def check_pycocoevalcap(what: str, option: str | None = None):
    """Checks that pycocoevalcap is installed.

    Args:
        what (str): What needs it.
        option (str): See :class:`lib.errors.InputError`.

    Raises:
        InputError: If it is not.
    """
    if not has_pycocoevalcap():
        raise InputError(f'{what}: needs pycocoevalcap; pip install pycocoevalcap', option)


def has_java() -> bool:
    """Returns whether there is a working ``java``."""
    path = shutil.which('java')
    return (
        path is not None
        and subprocess.run([path, '-version'], capture_output=True, check=False).returncode == 0
    )


class CaptionScorer:
    """Scores captions of images against references.

    Args:
        references (list of list of str): The reference captions of each image.
        with_java (bool): Whether to use the Penn Treebank tokenizer, as COCO's server does,
            and compute METEOR.
        tokenizer (str): How captions are split without it; see
            :func:`lib.captions.tokenizer.tokenize`.

    Raises:
        InputError: If pycocoevalcap is not installed, or no reference has a word.
    """

    def __init__(self, references: list[list[str]], with_java: bool, tokenizer: str = 'words'):
        check_pycocoevalcap('scoring captions')
        self._with_java = with_java
        self._tokenizer = tokenizer
        self._references = self._tokenize(references)
        if not any(map(any, self._references.values())):
            raise InputError('the reference captions have no words, so nothing can be scored')

    def __call__(self, captions: list[str]) -> Scores:
        """Scores one caption of each image.

        Args:
            captions (list of str): In the order of the references.

        Returns:
            Scores: BLEU-1 to BLEU-4, METEOR (with Java), ROUGE-L and CIDEr, in this order.
        """
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        candidates = self._tokenize([[caption] for caption in captions])
        bleu, counts = _bleu(self._references, candidates)
        values = {f'BLEU-{n}': score for n, score in enumerate(bleu, start=1)}
        means = {}
        if self._with_java:
            values['METEOR'], means['METEOR'] = _meteor(self._references, candidates)
        for name, scorer in ('ROUGE-L', Rouge()), ('CIDEr', Cider()):
            values[name], means[name] = scorer.compute_score(self._references, candidates)
        return Scores(
            {name: float(value) for name, value in values.items()},
            counts,
            {name: numpy.asarray(mean, 'float64') for name, mean in means.items()},
        )

    def _tokenize(self, captions_of_images):
        """Returns captions as pycocoevalcap takes them: ``{image: [tokens and spaces]}``."""
        # The Java tokenizer takes a caption per line, and more characters end one than in Python.
        captions_of_images = [
            [' '.join(caption.split()) for caption in captions] for captions in captions_of_images
        ]
        if not self._with_java:
            return {
                image: [' '.join(tokenize(caption, self._tokenizer)) for caption in captions]
                for image, captions in enumerate(captions_of_images)
            }
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

        with _silent_standard_error():
            tokenized = PTBTokenizer().tokenize(
                {
                    image: [{'caption': caption} for caption in captions]
                    for image, captions in enumerate(captions_of_images)
                }
            )
        if [*map(len, tokenized.values())] != [*map(len, captions_of_images)]:
            raise InputError('the Penn Treebank tokenizer failed; is java working?')
        return tokenized


def _bleu(references, candidates):
    """Returns BLEU-1 to BLEU-4, and :attr:`lib.evaluation.scores.Scores.bleu`."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=4)
    for image, (candidate,) in candidates.items():
        scorer += candidate, references[image]
    scores, _ = scorer.compute_score(option='closest', verbose=0)
    counts = []
    for image in scorer.ctest:
        length = image['testlen']
        closest = min(image['reflen'], key=lambda n: (abs(n - length), n))
        counts.append([length, closest, *image['guess'], *image['correct']])
    return scores, numpy.array(counts, 'float64')


def _meteor(references, candidates):
    from pycocoevalcap.meteor.meteor import Meteor

    meteor = Meteor()
    try:
        score, of_images = meteor.compute_score(references, candidates)
    except (ValueError, OSError) as error:
        with contextlib.suppress(OSError):  # which its destructor would raise
            meteor.meteor_p.stdin.close()
        raise InputError('METEOR failed; is java working, with 2 GB of memory?') from error
    finally:
        # An exception, such as an interruption, leaves it locked; then its destructor would wait.
        if meteor.lock.locked():
            meteor.lock.release()
    return score, of_images


@contextlib.contextmanager
def _silent_standard_error():
    """Hides the throughput that the Java tokenizer reports on standard error."""
    original = os.dup(2)
    with open(os.devnull, 'w') as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
