"""Captioning a split of a data set and scoring the captions."""

import math

import numpy

from lib.captions.batch import make_converter
from lib.captions.tokenizer import tokenize
from lib.decoding.caption import Caption
from lib.decoding.options import DecodingOptions
from lib.decoding.rescoring import token_log_probs
from lib.errors import InputError
from lib.evaluation.java import has_java
from lib.evaluation.metrics import CaptionScorer, has_pycocoevalcap
from lib.evaluation.scores import Scores

# Captions at a time of which the loss is computed.
BATCH_SIZE = 256


class Evaluator:
    """Evaluates models on the images of a split.

    Args:
        captioner (lib.captioner.Captioner): The models.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        split (str): A split with images.
        features (lib.features.table.FeatureTable): The features of its images.
        index_features (lib.features.table.FeatureTable): What the captioner's index is searched
            by; by default the features.

    Attributes:
        images (array): Indices of the split's images in the data set, (n,).
        references (list of list of str): The reference captions of each image.
    """

    def __init__(self, captioner, dataset, split, features, index_features=None):
        self._captioner = captioner
        self._dataset = dataset
        self._captions = dataset.captions_of(split)
        self._features = features
        self._index_features = index_features
        self._tokenizer = dataset.vocabulary.tokenizer
        self._training_texts = dataset.training_texts()
        self._remarks = []
        self.images = dataset.images_of(split)
        self.references = dataset.references_of(self.images)
        self._scorer = self._make_scorer() if self._captions.size else None

    def _make_scorer(self):
        if not has_pycocoevalcap():
            self._remarks.append(
                'pycocoevalcap was not found, so BLEU, METEOR, ROUGE-L and CIDEr are left out; '
                'pip install pycocoevalcap'
            )
            return None
        with_java = self._tokenizer == 'words' and has_java()
        if self._tokenizer == 'characters':
            self._remarks.append('these are scores of characters, not words; METEOR is omitted')
        elif not with_java:
            self._remarks.append(
                'java was not found, or does not work, so METEOR is left out and the scores are '
                'not comparable with those of other programs, which use the Penn Treebank '
                'tokenizer; install Java'
            )
        return CaptionScorer(self.references, with_java, self._tokenizer)

    def loss(self) -> float | None:
        """Returns the mean loss of the tokens of the references, in nats.

        It is the validation loss that ``train.py`` reports, here for everything that captions can
        be decoded with, such as an ensemble. None if the models have another vocabulary than the
        data set, or images have no references.

        Raises:
            InputError: If it is not finite.
        """
        ensemble = self._captioner.ensemble
        if ensemble.vocabulary != self._dataset.vocabulary or not self._captions.size:
            return None
        convert = make_converter(self._dataset, self._features)
        total = 0.0
        n_tokens = 0
        for start in range(0, len(self._captions), BATCH_SIZE):
            (batch,) = convert(self._captions[start : start + BATCH_SIZE], ensemble.device)
            with numpy.errstate(over='ignore', invalid='ignore'):  # reported below
                log_probs = token_log_probs(ensemble, batch)
                total += float(log_probs.sum(dtype='float64'))
            n_tokens += len(batch.targets)
        loss = -total / n_tokens
        if not math.isfinite(loss):
            raise InputError(
                f'the loss is {loss}: the weights of the models, or the features, are too large'
            )
        return loss

    def caption(self, options: DecodingOptions) -> list[list[Caption]]:
        """Returns the captions of each image, best first."""
        rows = self._dataset.imgid[self.images]
        return self._captioner.caption_features(self._features, options, rows, self._index_features)

    def score(self, texts: list[str]) -> Scores:
        """Scores a caption of each image.

        Args:
            texts (list of str): The captions.

        Returns:
            Scores: With pycocoevalcap, the scores of
            :class:`lib.evaluation.metrics.CaptionScorer`. In any case, how many captions are
            ``distinct``; the share that is ``new``, not a training caption; and their mean number
            of ``words``.
        """
        scores = self._scorer(texts) if self._scorer else Scores({}, numpy.empty((0, 10)), {})
        scores.remarks = self._remarks + scores.remarks
        n_new = sum(text not in self._training_texts for text in texts)
        n_tokens = sum(len(tokenize(text, self._tokenizer)) for text in texts)
        scores.values['distinct'] = len(set(texts))
        scores.values['new'] = n_new / len(texts)
        scores.values['words'] = n_tokens / len(texts)
        return scores
