"""Ending a training run whose loss is NaN or infinite."""

import chainer
import numpy
from chainer import training
from chainer.iterators import SerialIterator

from lib.errors import DivergedError
from lib.training.epoch_log import TRAINING

# Iterations on a GPU after which the host waits for their losses.
GPU_ITERATIONS = 50
# Images that are named.
MAX_NAMES = 8


class BatchIterator(SerialIterator):
    """Chainer's iterator, which remembers its last batch.

    Attributes:
        batch (list of int): The batch.
    """

    batch = ()

    def __next__(self):
        self.batch = super().__next__()
        return self.batch


class CheckLoss(training.Extension):
    """Ends training at the first batch whose loss is NaN or infinite.

    On a GPU it is found up to ``GPU_ITERATIONS`` later, but before anything is saved.

    Args:
        dataset (lib.captions.dataset.CaptionDataset): The data set, for the images' names.
    """

    # Before the evaluation, which would be in vain.
    priority = training.PRIORITY_WRITER + 2

    def __init__(self, dataset):
        self._dataset, self._unchecked = dataset, []

    def trigger(self, trainer):
        """Returns True: every iteration. Chainer's triggers would add to snapshots."""
        return True

    def __call__(self, trainer):
        updater = trainer.updater
        loss, _ = trainer.observation[f'{TRAINING}/loss']
        self._unchecked.append((updater.iteration, loss, updater.get_iterator('main').batch))
        on_cpu = isinstance(loss, (numpy.ndarray, numpy.generic))
        if on_cpu or updater.is_new_epoch or len(self._unchecked) == GPU_ITERATIONS:
            self.check()

    def check(self):
        """Checks the losses of all iterations so far.

        Raises:
            DivergedError: If one is NaN or infinite; names the iteration and images of its batch.
        """
        if not self._unchecked:
            return
        iterations, losses, batches = zip(*self._unchecked)
        self._unchecked.clear()
        xp = chainer.backend.get_array_module(losses[0])
        losses = chainer.get_device('@numpy').send(xp.stack(losses))  # one wait for all
        for iteration, loss, captions in zip(iterations, losses, batches):
            if not numpy.isfinite(loss):
                raise DivergedError(
                    f'the loss is {loss} in iteration {iteration}, for captions of '
                    f'{self._names(captions)}'
                )

    def _names(self, captions):
        names = list(dict.fromkeys(self._dataset.filename[self._dataset.image[captions]]))
        shown = ', '.join(names[:MAX_NAMES])
        return f'{shown} and {len(names) - MAX_NAMES} more images' if names[MAX_NAMES:] else shown


def check_finite(optimizer):
    """Checks that an optimizer and the network it trains contain neither NaN nor infinity.

    Args:
        optimizer (chainer.Optimizer): The optimizer.

    Raises:
        DivergedError: If any value is NaN or infinite.
    """
    for name, param in optimizer.target.namedparams():
        for array in (param.array, *(param.update_rule.state or {}).values()):
            xp = chainer.backend.get_array_module(array)
            if not xp.isfinite(array).all():
                raise DivergedError(
                    f'the weights {name} or the state of their optimizer are NaN or infinite in '
                    f'iteration {optimizer.t}'
                )
