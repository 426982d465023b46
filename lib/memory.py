"""Available host memory, and a check that an allocation fits."""

import re
from pathlib import Path, PurePosixPath

from lib.errors import InputError


def available_memory() -> int | None:
    """Returns how many bytes of the host's memory can be used, None if that is unknown."""
    amounts = []
    for path, pattern, unit in (
        ('/proc/meminfo', r'MemAvailable: *(\d+) kB', 1024),
        *((limit, r'(\d+)', 1) for limit in _limits()),
    ):
        match = re.search(pattern, _read(path))
        if match:
            amounts.append(unit * int(match[1]))
    return min(amounts, default=None)


def _limits():
    """Yields the files that may limit the memory of the container or batch job.

    Each control group (version 2, or 1 with a controller of memory) limits those below it.
    """
    groups = re.findall(r'^\d+:(|(?:.*,)?memory(?:,.*)?):(/.*)$', _read('/proc/self/cgroup'), re.M)
    for controllers, group in [('', '/'), ('memory', '/'), *groups]:
        folder, name = '/sys/fs/cgroup', 'memory.max'
        if controllers:
            folder, name = '/sys/fs/cgroup/memory', 'memory.limit_in_bytes'
        for parent in (PurePosixPath(group), *PurePosixPath(group).parents):
            yield f'{folder}{parent}/{name}'


def _read(path):
    """Returns the content of a file of the system, nothing if there is none."""
    try:
        return Path(path).read_text(encoding='utf-8', errors='replace')
    except OSError:  # another operating system, or no such limit
        return ''


def check_memory(n_bytes: int, what: str, option: str | None = None):
    """Checks that something fits into the host's memory.

    Without this check the kernel would kill the program once memory ran out.

    Args:
        n_bytes (int): The memory that it needs.
        what (str): What needs it, for the error message.
        option (str): See :class:`lib.errors.InputError`.

    Raises:
        InputError: If it does not fit.
    """
    available = available_memory()
    if available is not None and n_bytes > available:
        raise InputError(
            f'{what} would take {n_bytes / 2**30:,.1f} GiB of memory, but only '
            f'{available / 2**30:,.1f} GiB are available',
            option,
        )
