"""When a training ends."""


class StopTrigger:
    """Ends a training after a number of epochs, or when validation stops getting better.

    It reads the log of ``LogReport``, which is part of snapshots, and has no state of its
    own. Chainer's ``EarlyStoppingTrigger`` has some but does not save it, so that a resumed
    training would wait anew.

    Args:
        max_epoch (int): The last epoch.
        patience (int): Epochs to wait for a better validation loss; 0 never ends early.
    """

    def __init__(self, max_epoch, patience):
        self.max_epoch, self.patience = max_epoch, patience

    def __call__(self, trainer):
        if trainer.updater.epoch >= self.max_epoch:
            return True
        losses = [entry['validation/main/loss']
                  for entry in trainer.get_extension('LogReport').log]
        return bool(self.patience and losses
                    and len(losses) - 1 - losses.index(min(losses)) >= self.patience)

    def get_training_length(self):
        return self.max_epoch, 'epoch'
