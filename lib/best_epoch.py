"""Which epoch of a training is the best one, and what is done about it."""

import functools
import os

from lib.beam_search import beam_search
from lib.captioning import caption_images
from lib.scores import CaptionScorer
from lib.training_report import VALIDATION

import chainer
from chainer import training

# What an epoch is judged by: the key in the log, and which value is the best.
CRITERIA = {'loss': (f'{VALIDATION}/loss', min), 'CIDEr': (f'{VALIDATION}/CIDEr', max)}
BEAM_WIDTH = 3


def best_index(log, criterion):
    """Returns which entry of a log is the best, the first one if several are alike.

    Args:
        log (list of dict): The entries of ``LogReport``, at least one.
        criterion (str): A key of ``CRITERIA``.
    """
    key, best_of = CRITERIA[criterion]
    values = [entry[key] for entry in log]
    return values.index(best_of(values))


class SaveBest(training.Extension):
    """Writes the model to ``best.h5`` after each epoch that is the best so far.

    Like :class:`StopTrigger` it reads the log of ``LogReport``, which is part of snapshots, and
    has no state of its own.

    Args:
        model (lib.trained_model.TrainedModel): The model in training.
        criterion (str): A key of ``CRITERIA``.
    """

    trigger = 1, 'epoch'

    def __init__(self, model, criterion):
        self.model, self.criterion = model, criterion

    def __call__(self, trainer):
        log = trainer.get_extension('LogReport').log
        if best_index(log, self.criterion) == len(log) - 1:
            self.model.save(os.path.join(trainer.out, 'best.h5'))


class StopTrigger:
    """Ends a training after a number of epochs, or when validation stops getting better.

    Chainer's ``EarlyStoppingTrigger`` does not save its state, so that a resumed training
    would wait anew.

    Args:
        max_epoch (int): The last epoch.
        patience (int): Epochs to wait for a better one; 0 never ends early.
        criterion (str): A key of ``CRITERIA``.
    """

    def __init__(self, max_epoch, patience, criterion):
        self.max_epoch, self.patience, self.criterion = max_epoch, patience, criterion

    def __call__(self, trainer):
        if trainer.updater.epoch >= self.max_epoch:
            return True
        log = trainer.get_extension('LogReport').log
        return bool(self.patience and log
                    and len(log) - 1 - best_index(log, self.criterion) >= self.patience)

    def get_training_length(self):
        return self.max_epoch, 'epoch'


class ScoreCaptions(training.Extension):
    """Captions the validation images after each epoch and reports the scores.

    Words are split plainly and METEOR is left out, so that no Java program runs: the scores
    differ a little from those of ``evaluate.py``.

    Args:
        model (lib.trained_model.TrainedModel): The model in training.
        captions (lib.caption_file.Captions): The data set.
        features (array): One row per ``imgid``, (N, D), on the model's device.
    """

    trigger = 1, 'epoch'
    # Before LogReport, which takes up the scores.
    priority = training.PRIORITY_WRITER

    def __init__(self, model, captions, features):
        self.model, self.features = model, features
        images = captions.images_of('val')
        self._scorer = CaptionScorer(captions.references_of(images), with_java=False,
                                     unit=captions.vocabulary.unit)
        self._rows = chainer.backend.get_device_from_array(features).send(captions.imgid[images])

    def __call__(self, trainer):
        found = caption_images(functools.partial(beam_search, beam_width=BEAM_WIDTH, top=1),
                               self.model.network, self.model.vocabulary, self.features,
                               self._rows)
        scores, _ = self._scorer([text for ((text, _),) in found])
        chainer.report({f'{VALIDATION}/{name}': value for name, value in scores.items()})
