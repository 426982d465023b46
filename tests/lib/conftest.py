import pytest

from tests.helpers.captioning import Folder


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    """A CNN, two models and images, see :class:`tests.helpers.captioning.Folder`."""
    return Folder(tmp_path_factory.mktemp('captioner'))
