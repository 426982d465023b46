"""Where the real data are: Flickr8k's captions, features and images, and a real caffemodel."""

import os

import pytest

from tests.helpers.scripts import ROOT

FOLDER = os.environ.get('SHOW_AND_TELL_DATA', os.path.join(os.path.dirname(ROOT), 'shared'))


def real(*parts):
    """Returns the path of a real file; skips the test if it is absent."""
    path = os.path.join(FOLDER, *parts)
    if not os.path.exists(path):
        pytest.skip(f'no real data: {path} is absent (SHOW_AND_TELL_DATA names the folder)')
    return path
