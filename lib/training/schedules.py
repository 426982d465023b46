"""Values that change in the course of training: learning rate, sampling probability."""

import math
from dataclasses import dataclass

from chainer import training


@dataclass
class LearningRateSchedule:
    """A learning rate that may rise at the beginning and then fall.

    Attributes:
        rate (float): The learning rate before it falls.
        kind (str): ``'step'`` multiplies it by ``decay`` every ``decay_every`` epochs;
            ``'cosine'`` lets it fall to 0 at ``last_epoch`` along half a cosine.
        decay (float): Factor of each step; 1 keeps the rate.
        decay_every (int): Epochs between steps.
        warmup_iterations (int): Iterations in which it rises linearly from 0.
        last_epoch (int): The last epoch; only needed for ``'cosine'``.
    """

    rate: float
    kind: str = 'step'
    decay: float = 1
    decay_every: int = 1
    warmup_iterations: int = 0
    last_epoch: int | None = None

    def __call__(self, epoch, iteration):
        """Returns the learning rate after some epochs (float) and iterations (int)."""
        if self.kind == 'cosine':
            factor = (1 + math.cos(math.pi * min(1, epoch / self.last_epoch))) / 2
        else:
            factor = self.decay ** (int(epoch) // self.decay_every)
        return self.rate * (factor * min(1, (iteration + 1) / (self.warmup_iterations + 1)))


class LearningRate(training.Extension):
    """Sets the learning rate before each iteration.

    Chainer's shifts have no cosine. The rate follows from the number of iterations, so that
    snapshots need not contain it.

    Args:
        schedule (callable): Such as a :class:`LearningRateSchedule`.
        hyperparameter (str): Name of the optimizer's learning rate.
    """

    trigger = 1, 'iteration'

    def __init__(self, schedule, hyperparameter):
        self._schedule = schedule
        self._hyperparameter = hyperparameter

    def initialize(self, trainer):
        self(trainer)

    def __call__(self, trainer):
        updater = trainer.updater
        rate = self._schedule(updater.epoch_detail, updater.iteration)
        setattr(updater.get_optimizer('main'), self._hyperparameter, rate)


class ScheduledSampling(training.Extension):
    """Raises the sampling probability linearly, from 0 to its value at the last epoch.

    Args:
        network (models.network.Network): The network in training.
        probability (float): Its ``sampling_probability`` at the last epoch.
        last_epoch (int): The last epoch.
    """

    trigger = 1, 'iteration'

    def __init__(self, network, probability, last_epoch):
        self._network = network
        self._probability = probability
        self._last_epoch = last_epoch

    def initialize(self, trainer):
        self(trainer)

    def __call__(self, trainer):
        progress = min(1, trainer.updater.epoch_detail / self._last_epoch)
        self._network.sampling_probability = self._probability * progress
