"""Locks between processes, which end with the process that holds them, however it ends."""

import fcntl


def try_lock(file) -> bool | None:
    """Locks an open file until it is closed.

    Returns:
        bool: Whether this process has locked it; False if another one has; None if the file system
        has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
