import threading
import time

import pytest

from lib.features.memory_budget import MemoryBudget


def test_threads_together_never_hold_more_than_the_budget():
    budget, held, most = MemoryBudget(10), [], []

    def work(n_bytes):
        with budget.reserve(n_bytes):
            held.append(n_bytes)
            most.append(sum(held))
            time.sleep(0.002)
            held.remove(n_bytes)

    threads = [threading.Thread(target=work, args=[n]) for n in [10, 1, 4, 5, 6, 3, 10, 2] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert len(most) == len(threads)
    assert max(most) <= 10


def test_memory_is_returned_after_an_error():
    budget = MemoryBudget(10)
    for _ in range(3):
        with pytest.raises(KeyError), budget.reserve(10):
            raise KeyError


def test_more_than_the_budget_is_not_waited_for():
    with pytest.raises(ValueError, match='11'), MemoryBudget(10).reserve(11):
        pass
