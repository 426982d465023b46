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
    check_outputs([os.path.join(folder, BEST)])


@contextlib.contextmanager
def lock_folder(folder):
    """Keeps other training runs out of a folder, which is created if need be.

    Folders that it has created, and that are still empty at the end of the block, are removed.

    Raises:
        InputError: If another process has locked it.
    """
    path = Path(folder).absolute()
    created = [parent for parent in (path, *path.parents) if not os.path.exists(parent)]
    os.makedirs(folder, exist_ok=True)
    # Not "open" alone, which would wait for a pipe.
    with open(os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666), 'r+b') as file:
        # Without a name, it is the file of a process that has just ended, and another may follow.
        if not _try_lock(file) or os.fstat(file.fileno()).st_nlink == 0:
            raise InputError(f'{folder}: another process is writing to this folder')
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the folder has been deleted
                os.remove(path / LOCK)
            for parent in created:
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(parent)


def _try_lock(file) -> bool:
    """Locks a file until it is closed; returns whether no other process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True
