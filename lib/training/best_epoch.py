"""Selecting the best epoch: saving it, early stopping, and scoring captions."""

import os

import chainer
from chainer import training

from lib.decoding.decode import DecodingOptions
from lib.decoding.ensemble import Ensemble
from lib.decoding.feature_captioner import FeatureCaptioner
from lib.evaluation.metrics import CaptionScorer
from lib.training.epoch_log import VALIDATION
from lib.training.output_folder import BEST
from lib.training.reports import REPORT_BEAM_WIDTH

# What epochs are compared by: the key in the log, and which of its values is the best.
CRITERIA = {'loss': (f'{VALIDATION}/loss', min), 'CIDEr': (f'{VALIDATION}/CIDEr', max)}


def best_index(log: list[dict], criterion: str) -> int:
    """Returns the index of the best entry of a log, the first one of equals.

    Args:
        log (list of dict): The entries of ``LogReport``, at least one.
        criterion (str): A key of ``CRITERIA``.
    """
    key, best_of = CRITERIA[criterion]
    values = [entry[key] for entry in log]
    return values.index(best_of(values))


class SaveBest(training.Extension):
    """Writes the model to ``best.h5`` after each epoch that is the best so far.

    Like :class:`StopTrigger` it reads the log of ``LogReport``, which snapshots contain, and
    needs no state of its own.

    Args:
        model (lib.trained_model.TrainedModel): The model in training.
        criterion (str): A key of ``CRITERIA``.
    """

    trigger = 1, 'epoch'

    def __init__(self, model, criterion):
        self._model, self._criterion = model, criterion

    def __call__(self, trainer):
        log = trainer.get_extension('LogReport').log
        if best_index(log, self._criterion) == len(log) - 1:
            self._model.save(os.path.join(trainer.out, BEST))


class StopTrigger:
    """Ends a training run after a number of epochs, or when validation no longer improves.

    Chainer's ``EarlyStoppingTrigger`` does not save its state, so that after a resumption it
    would start to wait again.

    Args:
        max_epoch (int): The last epoch.
        patience (int): Epochs to wait for a better one; 0 never ends early.
        criterion (str): A key of ``CRITERIA``.
        interruption (lib.training.interruption.Interruption): Ends it, too.
    """

    def __init__(self, max_epoch, patience, criterion, interruption):
        self._max_epoch, self._patience, self._criterion = max_epoch, patience, criterion
        self._interruption = interruption

    def __call__(self, trainer):
        return self._interruption.agree_to_stop() or self.is_complete(trainer)

    def is_complete(self, trainer):
        """Returns whether training has come to its end, interrupted or not."""
        if trainer.updater.epoch >= self._max_epoch:
            return True
        log = trainer.get_extension('LogReport').log
        if not log or not self._patience:
            return False
        return len(log) - 1 - best_index(log, self._criterion) >= self._patience

    def get_training_length(self):
        return self._max_epoch, 'epoch'


class ScoreCaptions(training.Extension):
    """Captions the validation images after each epoch and reports the scores.

    Without METEOR and the Penn Treebank tokenizer, which are Java programs, so that the
    scores differ a little from those of ``evaluate.py``.

    Args:
        model (lib.trained_model.TrainedModel): The model in training.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        features (lib.features.table.FeatureTable): The features, on the model's device or sent
            there.
        processes (lib.processes.Processes): Each of them captions a share of the images.
    """

    trigger = 1, 'epoch'
    # Before LogReport, which collects the scores.
    priority = training.PRIORITY_WRITER

    def __init__(self, model, dataset, features, processes):
        self._processes = processes
        self._captioner, self._features = FeatureCaptioner(Ensemble([model])), features
        images = dataset.images_of('val')
        self._scorer = CaptionScorer(
            dataset.references_of(images), with_java=False, tokenizer=dataset.vocabulary.tokenizer
        )
        self._rows = processes.share_of(dataset.imgid[images])

    def __call__(self, trainer):
        captions = self._captioner(
            self._features, DecodingOptions(beam_width=REPORT_BEAM_WIDTH, top=1), self._rows
        )
        texts = self._processes.merge_shares([best.text for (best,) in captions])
        scores, _ = self._processes.compute_on_main(self._scorer, texts)
        chainer.report({f'{VALIDATION}/{name}': score for name, score in scores.items()})
