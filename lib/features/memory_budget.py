"""A limit on the memory that several threads use at once."""

import contextlib
import threading


class MemoryBudget:
    """Memory that threads share; a thread that needs more than is free waits for the others.

    Args:
        size (int): All of the memory, bytes.

    Attributes:
        size (int): As given.
    """

    def __init__(self, size):
        self.size = self._free = size
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserve(self, n_bytes):
        """Waits until so much memory is free, and holds it until the block ends.

        A thread must not reserve memory while it holds some, or two may wait for each other.

        Args:
            n_bytes (int): At most :attr:`size`.

        Raises:
            ValueError: If it is more, which could never be granted.
        """
        if n_bytes > self.size:
            raise ValueError(f'{n_bytes} bytes exceed the budget of {self.size}')
        with self._changed:
            self._changed.wait_for(lambda: n_bytes <= self._free)
            self._free -= n_bytes
        try:
            yield
        finally:
            with self._changed:
                self._free += n_bytes
                self._changed.notify_all()
