"""Captioning a split of a data set and scoring the captions."""

from typing import NamedTuple

import numpy

from lib.captions.tokenizer import tokenize
from lib.decoding.caption import Caption
from lib.decoding.decode import DecodingOptions
from lib.evaluation.bootstrap import resample
from lib.evaluation.faults import is_cut_off, stutters
from lib.evaluation.likelihood import mean_log_prob
from lib.evaluation.metrics import CaptionScorer, has_java, has_pycocoevalcap


class Evaluation(NamedTuple):
    """The captions of a split and their scores.

    Attributes:
        captions (list of list of Caption): For each image its captions, best first.
        scores (dict): With pycocoevalcap BLEU-1 to BLEU-4, METEOR (with Java), ROUGE-L and CIDEr
            of the first captions; how many are ``distinct``; the share that is ``new``, not a
            training caption; their mean number of ``words``; and, of words, the shares that are
            ``cut off`` and that ``stutter``, see :mod:`lib.evaluation.faults`.
        resampled (dict): See :func:`lib.evaluation.bootstrap.resample`; empty without
            pycocoevalcap.
        cider (array): CIDEr of the first caption of each image, (n,), float64; None without
            pycocoevalcap.
    """

    captions: list[list[Caption]]
    scores: dict[str, float]
    resampled: dict[str, numpy.ndarray]
    cider: numpy.ndarray | None


class Evaluator:
    """Evaluates models on the images of a split.

    Args:
        captioner (lib.decoding.feature_captioner.FeatureCaptioner): The models.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        split (str): A split with images.
        features (lib.features.table.FeatureTable): The features, on the models' device or sent
            there.
        processes (lib.processes.Processes): Each of them captions a share of the images. All must
            call the methods; the main one scores.
        index_features (FeatureTable): What the captioner's index is searched by; by default the
            features.

    Attributes:
        images (array): Indices of the split's images in the data set, (n,).
        references (list of list of str): The reference captions of each image.
    """

    def __init__(self, captioner, dataset, split, features, processes, index_features=None):
        self._index_features = index_features
        self._captioner, self._ensemble = captioner, captioner.ensemble
        self._dataset, self._split, self._features = dataset, split, features
        self._processes = processes
        self.images = dataset.images_of(split)
        self._rows = processes.share_of(dataset.imgid[self.images])
        self._tokenizer = dataset.vocabulary.tokenizer
        self.references = dataset.references_of(self.images)
        self._scorer = self._training_texts = None
        if processes.is_main:
            if has_pycocoevalcap():
                with_java = self._tokenizer == 'words' and has_java()
                self._scorer = CaptionScorer(self.references, with_java, self._tokenizer)
            self._training_texts = dataset.training_texts()
            tokens = dataset.vocabulary.tokens
            self._never_last = {tokens[index] for index in dataset.never_last()}

    def loss(self) -> float | None:
        """Returns the loss of the references, in nats per token.

        None if the models have another vocabulary than the data set.
        """
        if self._ensemble.vocabulary != self._dataset.vocabulary:
            return None
        captions = self._processes.share_of(self._dataset.captions_of(self._split))
        n_targets = int((self._dataset.lengths[captions] + 1).sum())
        observation = {}
        if n_targets:
            mean = mean_log_prob(self._ensemble, self._dataset, captions, self._features)
            observation['loss'] = -mean, n_targets
        return self._processes.mean(observation)['loss']

    def evaluate(self, options: DecodingOptions) -> Evaluation | None:
        """Captions the images and scores their first captions, in the main process.

        Without pycocoevalcap the captions are counted, but not compared with the references.
        """
        captions = self._captioner(self._features, options, self._rows, self._index_features)
        captions = self._processes.merge_shares(captions)
        if not self._processes.is_main:
            return None
        texts = [best.text for best, *_ in captions]
        if self._scorer is None:
            return Evaluation(captions, self._count(texts), {}, None)
        scores, image_scores = self._scorer(texts)
        return Evaluation(
            captions,
            {**scores, **self._count(texts)},
            resample(scores, image_scores),
            image_scores.means['CIDEr'],
        )

    def score(self, texts: list[str]):
        """Scores other captions of the same images, in the main process, with pycocoevalcap.

        Args:
            texts (list of str): A caption of each of :attr:`images`.

        Returns:
            tuple: Their scores, a dictionary, and what
            :func:`lib.evaluation.bootstrap.resample` returns of them.
        """
        scores, image_scores = self._scorer(texts)
        return scores, resample(scores, image_scores)

    def _count(self, texts):
        n_new = sum(text not in self._training_texts for text in texts)
        n_tokens = sum(len(tokenize(text, self._tokenizer)) for text in texts)
        counts = {
            'distinct': len(set(texts)),
            'new': n_new / len(texts),
            'words': n_tokens / len(texts),
        }
        if self._tokenizer == 'words':
            captions = [text.split() for text in texts]
            n_cut_off = sum(is_cut_off(tokens, self._never_last) for tokens in captions)
            counts['cut off'] = n_cut_off / len(texts)
            counts['stutter'] = sum(map(stutters, captions)) / len(texts)
        return counts
