"""When a training run ends: after its last epoch, early, at a signal, or because it diverged."""

import contextlib
import math
import os
import signal

import chainer
from chainer import training

from lib.cli.run import EXIT_CODES
from lib.errors import DivergedError
from lib.training.best_epoch import best_index
from lib.training.epoch_log import TRAINING

NOTICE = b'stopping after this iteration; press Ctrl-C again to stop immediately\n'
# Iterations between checks of the loss.
CHECK_EVERY = 50


class StopTrigger:
    """Ends a training run after some epochs, when validation no longer improves, or at a signal.

    Chainer's ``EarlyStoppingTrigger`` does not save its state, so it would start to wait again
    after a resumption.

    Args:
        max_epoch (int): The last epoch.
        patience (int): Epochs to wait for a better one; 0 never ends early.
        criterion (str): A key of :data:`lib.training.best_epoch.CRITERIA`.
        interruption (Interruption): Ends it, too.
    """

    def __init__(self, max_epoch, patience, criterion, interruption):
        self._max_epoch = max_epoch
        self._patience = patience
        self._criterion = criterion
        self._interruption = interruption

    def __call__(self, trainer):
        return self._interruption.agree_to_stop() or self.is_complete(trainer)

    def is_complete(self, trainer):
        """Returns whether training has come to its end, interrupted or not."""
        if trainer.updater.epoch >= self._max_epoch:
            return True
        log = trainer.get_extension('EpochLog').log
        if not log or not self._patience:
            return False
        return len(log) - 1 - best_index(log, self._criterion) >= self._patience

    def get_training_length(self):
        return self._max_epoch, 'epoch'


class Interruption:
    """Notices Ctrl-C, SIGTERM, SIGHUP or SIGUSR1 in a ``with`` statement.

    After that, Ctrl-C acts as usual. The others are ignored, since they may be sent twice: a hangup
    by the shell and by the kernel, a termination by a batch system.

    Args:
        processes (lib.processes.Processes): Those that are interrupted together.

    Attributes:
        exit_code (int): The exit code that the signal calls for, None if there was none.
    """

    def __init__(self, processes):
        self.exit_code = None
        self._noticed = None
        self._processes = processes
        self._handlers = {}

    def __enter__(self):
        for number in EXIT_CODES:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets SIGHUP
                self._handlers[number] = signal.signal(number, self._notice)
        return self

    def __exit__(self, *exception):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def agree_to_stop(self):
        """Exchanges whether there was a signal; returns whether any process noticed one."""
        noticed = [code for code in self._processes.all_gather(self._noticed) if code is not None]
        # A signal that has just arrived is exchanged next time.
        if noticed:
            self.exit_code = max(noticed)
        return self.exit_code is not None

    def _notice(self, number, frame):
        if self._noticed is not None:
            return
        self._noticed = EXIT_CODES[number]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Not print, which may be interrupted in the middle of printing something else.
        with contextlib.suppress(OSError):
            os.write(2, NOTICE)


class StopIfDiverged(training.Extension):
    """Ends training soon after its loss has become NaN or infinite, which all later ones are then.

    Chainer's ``FailOnNonNumber`` looks at all weights after each iteration, and a GPU's host would
    wait for that.
    """

    # Before the evaluation, which would be in vain.
    priority = training.PRIORITY_WRITER + 2

    def trigger(self, trainer):
        """Returns whether it is time to look."""
        updater = trainer.updater
        return updater.is_new_epoch or updater.iteration % CHECK_EVERY == 0

    def __call__(self, trainer):
        loss, _ = trainer.observation[f'{TRAINING}/loss']
        loss = float(loss)
        if not math.isfinite(loss):
            raise DivergedError(f'the loss is {loss} in iteration {trainer.updater.iteration}')


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
