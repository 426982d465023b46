"""Which epoch of a training run is the best one, and saving its model."""

import os

import chainer
from chainer import training

from lib.captioner import Captioner
from lib.decoding.ensemble import Ensemble
from lib.decoding.options import DecodingOptions
from lib.evaluation.metrics import CaptionScorer
from lib.training.epoch_log import VALIDATION
from lib.training.output_folder import BEST, epoch_file

# What epochs are compared by: the key in the log, and 1 if low values are best, -1 if high ones.
CRITERIA = {'loss': (f'{VALIDATION}/loss', 1), 'CIDEr': (f'{VALIDATION}/CIDEr', -1)}
# The beam width of all captions decoded during training.
BEAM_WIDTH = 3


def best_index(log: list[dict], criterion: str) -> int:
    """Returns the index of the best entry of a log; of equals that of the lowest validation loss.

    Args:
        log (list of dict): The entries of :class:`lib.training.epoch_log.EpochLog`, at least one.
        criterion (str): A key of ``CRITERIA``.
    """
    key, sign = CRITERIA[criterion]
    loss, _ = CRITERIA['loss']
    return min(range(len(log)), key=lambda n: (sign * log[n][key], log[n][loss]))


class SaveModel(training.Extension):
    """Writes the model of each epoch, and again as ``best.h5`` if it is the best so far.

    Chainer's ``BestValueTrigger`` would compare other means than those of the log, by which
    :class:`lib.training.stopping.StopTrigger` ends the training.

    Args:
        model (lib.trained_model.TrainedModel): The model in training.
        criterion (str): A key of ``CRITERIA``.
    """

    trigger = 1, 'epoch'

    def __init__(self, model, criterion):
        self._model = model
        self._criterion = criterion

    def __call__(self, trainer):
        log = trainer.get_extension('EpochLog').log
        self._model.save(os.path.join(trainer.out, epoch_file(trainer.updater.epoch)))
        if best_index(log, self._criterion) == len(log) - 1:
            self._model.save(os.path.join(trainer.out, BEST))


class ScoreCaptions(training.Extension):
    """Captions the validation images after each epoch and reports the scores.

    Without METEOR and the Penn Treebank tokenizer, which are Java programs, so that the
    scores differ a little from those of ``evaluate.py``.

    Args:
        model (lib.trained_model.TrainedModel): The model in training.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        features (lib.features.table.FeatureTable): The features of its images.
        processes (lib.processes.Processes): Each of them captions a share of the images.
    """

    trigger = 1, 'epoch'
    # Before EpochLog, which collects the scores.
    priority = training.PRIORITY_WRITER

    def __init__(self, model, dataset, features, processes):
        self._processes = processes
        self._captioner = Captioner(Ensemble([model]))
        self._features = features
        images = dataset.images_of('val')
        self._scorer = CaptionScorer(
            dataset.references_of(images), with_java=False, tokenizer=dataset.vocabulary.tokenizer
        )
        self._rows = processes.share_of(dataset.imgid[images])

    def __call__(self, trainer):
        options = DecodingOptions(beam_width=BEAM_WIDTH, top=1)
        captions = self._captioner.caption_features(self._features, options, self._rows)
        texts = self._processes.merge_shares([best.text for (best,) in captions])
        scores = self._processes.compute_on_main(self._scorer, texts).values
        chainer.report({f'{VALIDATION}/{name}': score for name, score in scores.items()})
