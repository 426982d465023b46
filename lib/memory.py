"""How much memory there is, to refuse at once what would never fit into it."""

import re

from lib.errors import InputError

# What the control groups, versions 2 and 1, of a container or a batch job let it use.
LIMITS = '/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'


def available_memory() -> int | None:
    """Returns how many bytes of the host's memory can be used, None if that is unknown."""
    amounts = []
    for path, pattern, unit in (
        ('/proc/meminfo', r'MemAvailable: *(\d+) kB', 1024),
        *((limit, r'(\d+)', 1) for limit in LIMITS),
    ):
        try:
            with open(path, encoding='ascii') as file:
                match = re.search(pattern, file.read())
        except OSError:
            continue  # another operating system, or no such limit
        if match:
            amounts.append(unit * int(match[1]))
    return min(amounts, default=None)


def check_memory(n_bytes: int, what: str, option: str | None = None):
    """Checks that something fits into the host's memory.

    The system would rather end the whole program than tell it that there is too little.

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
