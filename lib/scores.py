"""The field's scores of captions: BLEU, METEOR, ROUGE-L and CIDEr.

They are those of ``pycocoevalcap``, the COCO caption evaluation. Its METEOR and its tokenizer,
the one of the Penn Treebank, are Java programs.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess

from lib.errors import InputError
from lib.tokens import tokenize


def has_java():
    """Says whether a ``java`` that starts is there."""
    path = shutil.which('java')
    return path is not None and subprocess.run(
        [path, '-version'], capture_output=True, check=False).returncode == 0


class CaptionScorer:
    """Scores captions of images against what people wrote about them.

    Args:
        references (list of list of str): The captions that people wrote for each image.
        with_java (bool): Whether to use the Penn Treebank's tokenizer, as COCO's server does,
            and compute METEOR.
        unit (str): What to split captions into without it; see :func:`lib.tokens.tokenize`.

    Raises:
        InputError: If pycocoevalcap is not installed.
    """

    def __init__(self, references, with_java, unit='words'):
        if importlib.util.find_spec('pycocoevalcap') is None:
            raise InputError('scores need pycocoevalcap: pip install -r requirements-eval.txt')
        self._with_java, self._unit = with_java, unit
        self._references = self._tokenize(references)

    def __call__(self, captions):
        """Scores one caption of each image.

        Args:
            captions (list of str): In the order of the references.

        Returns:
            tuple: Scores by name, in the order of the field's tables, and the CIDEr of each
            image.
        """
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.meteor.meteor import Meteor
        from pycocoevalcap.rouge.rouge import Rouge

        pair = self._references, self._tokenize([[text] for text in captions])
        bleu, _ = Bleu(4).compute_score(*pair, verbose=0)
        scores = {f'BLEU-{n}': value for n, value in enumerate(bleu, start=1)}
        if self._with_java:
            scores['METEOR'], _ = Meteor().compute_score(*pair)
        scores['ROUGE-L'], _ = Rouge().compute_score(*pair)
        scores['CIDEr'], cider = Cider().compute_score(*pair)
        return {name: float(value) for name, value in scores.items()}, cider.tolist()

    def _tokenize(self, texts_of_images):
        if not self._with_java:
            return {image: [' '.join(tokenize(text, self._unit)) for text in texts]
                    for image, texts in enumerate(texts_of_images)}
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

        with _quiet_standard_error():
            return PTBTokenizer().tokenize({
                image: [{'caption': text} for text in texts]
                for image, texts in enumerate(texts_of_images)})


@contextlib.contextmanager
def _quiet_standard_error():
    """Hides what programs started within write there: the tokenizer boasts of its speed."""
    kept = os.dup(2)
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
