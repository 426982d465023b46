"""The folder that training writes to: the names of its files, and a lock."""

import contextlib
import fcntl
import os
import re
from pathlib import Path

from lib.errors import InputError
from lib.files.output import check_not_overwritten, check_outputs

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


# Regular expression of the names of the files that are replaced.
RESULTS = rf'{BEST}|{LOG}|{SNAPSHOT}|epoch_\d+\.h5|[a-z]+\.png'


def results_in(folder: str) -> list[str]:
    """Returns the paths of the files in a folder that are named like those of a training run."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if re.fullmatch(RESULTS, name)]


def has_models(folder: str) -> bool:
    """Returns whether a folder has a snapshot or models of a training run."""
    return any(path.endswith('.h5') for path in results_in(folder))


def find_best(folder, epoch: int) -> str | None:
    """Returns the path of the best model, that of its epoch if it is gone, None if that is, too.

    Args:
        folder (str): The folder.
        epoch (int): The best epoch.
    """
    paths = [os.path.join(folder, name) for name in (BEST, epoch_file(epoch))]
    return next((path for path in paths if os.path.isfile(path) and os.path.getsize(path)), None)


def check_folder(folder: str, inputs):
    """Checks that training can write its files into a folder, and replaces none that it reads.

    Args:
        folder (str): The folder, which need not exist.
        inputs (iterable of str): The files that are read.

    Raises:
        InputError: If it replaces one, or something that is not a regular file has a name of one
            that training writes.
        OSError: If files cannot be created in the folder.
    """
    results = results_in(folder)
    check_not_overwritten([*results, os.path.join(folder, LOCK)], inputs)
    for path in results:
        if not os.path.isfile(path):
            raise InputError(f'{path}: is not a regular file; choose another output')
    check_outputs([os.path.join(folder, BEST)], kind='model')


class OutputFolder:
    """The folder of a training run, which a lock keeps other runs out of.

    As a context it is created if need be; folders that were created and are still empty at the end
    are removed.

    Args:
        path (str): The folder.
    """

    def __init__(self, path):
        self._path = path
        self._lock = None

    def __fspath__(self):
        return self._path

    def __str__(self):
        return self._path

    def __enter__(self):
        """Locks the folder.

        Raises:
            InputError: If another process has locked it.
        """
        path = Path(self._path).absolute()
        self._created = [parent for parent in (path, *path.parents) if not parent.exists()]
        os.makedirs(path, exist_ok=True)
        # Not "open" alone, which would wait for a pipe.
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK
        self._lock = open(os.open(path / LOCK, flags, 0o666), 'r+b')
        # Without a name, it is the file of a process that has just ended, and another may follow.
        if not _try_lock(self._lock) or not self._is_locked():
            self._lock.close()
            raise InputError(f'{self._path}: another process is writing to this folder')
        return self

    def __exit__(self, *exception):
        if self._is_locked():
            os.remove(os.path.join(self._path, LOCK))
        self._lock.close()
        for parent in self._created:
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(parent)

    def file(self, name: str) -> str:
        """Returns the path of a file to write.

        Raises:
            InputError: If the folder has been deleted since it was locked, and may be that of
                another run.
        """
        if self._lock is not None and not self._is_locked():
            raise InputError(
                f'{self._path}: has been deleted or replaced during training, which ends here'
            )
        return os.path.join(self._path, name)

    def _is_locked(self):
        """Returns whether the lock in the folder is ours."""
        try:
            found = os.stat(os.path.join(self._path, LOCK))
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self._lock.fileno()))


def _try_lock(file) -> bool:
    """Locks a file until it is closed; returns whether no other process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True
