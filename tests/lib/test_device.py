import pytest

from lib import device
from lib.device import check_memory, select_device
from lib.errors import InputError


def test_select_device_reports_unusable_gpus():
    assert select_device(-1).xp.__name__ == 'numpy'
    with pytest.raises(InputError, match='99: this GPU cannot be used') as raised:
        select_device(99)
    assert raised.value.option == 'gpu'
    with pytest.raises(InputError, match='needs a GPU') as raised:
        select_device(-1, tf32=True)
    assert raised.value.option == 'tf32'


def test_what_exceeds_the_memory_is_refused(monkeypatch):
    check_memory(1 << 20, 'a megabyte')
    with pytest.raises(InputError, match='the features would take .* GiB of memory, but only'):
        check_memory(1 << 50, 'the features')
    monkeypatch.setattr(device, 'available_memory', lambda: None)
    check_memory(1 << 50, 'where nobody knows how much there is')
