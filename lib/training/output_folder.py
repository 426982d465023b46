"""The folder that training writes to: the names of its files, and a lock."""

import contextlib
import os
import re

from lib.files.output import lock

BEST = 'best.h5'
LOG = 'log'
SNAPSHOT = 'snapshot.h5'
LOCK = '.lock'
# What to do if a run cannot be continued.
RESTART = 'to start from its best model, give best.h5 with --model and another --output'


def epoch_file(epoch: int) -> str:
    """Returns the name of the model of an epoch."""
    return f'epoch_{epoch:03}.h5'


def plot_file(quantity: str) -> str:
    """Returns the name of the plot of a quantity of the log."""
    return f'{quantity.lower()}.png'


def has_models(folder: str) -> bool:
    """Returns whether a folder has a snapshot or models of a training run."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return any(re.fullmatch(rf'{BEST}|{SNAPSHOT}|epoch_\d+\.h5', name) for name in names)


@contextlib.contextmanager
def locked(folder: str):
    """Creates a folder if need be, and keeps other training runs out of it in a ``with`` statement.

    Args:
        folder (str): The folder. On a file system without locks it is open to all.

    Raises:
        InputError: If another process is training there.
    """
    os.makedirs(folder, exist_ok=True)
    # A file, since NFS locks no folders between machines.
    with open(os.path.join(folder, LOCK), 'ab') as file:
        lock(file, folder)
        yield
