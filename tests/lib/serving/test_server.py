"""Where the server listens."""

import pytest

from lib.errors import InputError
from lib.serving.server import names_of_host


@pytest.mark.parametrize('host', ['127.0.0.1', '::1', 'localhost'])
def test_a_server_for_this_machine_has_its_names(host):
    assert names_of_host(host) >= {'localhost', '127.0.0.1', '::1'}


def test_a_server_for_other_machines_has_any_name():
    assert names_of_host('0.0.0.0') is None


def test_a_host_that_does_not_exist_is_named():
    with pytest.raises(InputError, match=r'host no\.such\.host\.invalid: '):
        names_of_host('no.such.host.invalid')
