"""What a request may contain, where its files are kept, and how many there may be."""

import io
import threading
from dataclasses import dataclass

import flask


@dataclass(frozen=True)
class Limits:
    """What a request may contain, and how many there may be.

    Attributes:
        image_bytes (int): Bytes of an image's file.
        image_pixels (int): Pixels of an image.
        images (int): Images in a request.
        requests (int): Requests that are being answered at the same time.
    """

    image_bytes: int = 20_000_000
    image_pixels: int = 100_000_000
    images: int = 16
    requests: int = 32

    @property
    def request_bytes(self):
        """Bytes of a whole request: of two of the largest images, and some for the form."""
        return 2 * self.image_bytes + 1_000_000


class InMemoryRequest(flask.Request):
    """A request whose files stay in memory: Werkzeug would write them to the disk."""

    def _get_file_stream(self, *_, **__):
        return io.BytesIO()

    def make_form_data_parser(self):
        """Returns a parser that does not take a form that is cut short for an empty one."""
        parser = super().make_form_data_parser()
        parser.silent = False
        return parser


class RequestCounter:
    """Counts the requests that are being answered, and refuses too many.

    Args:
        limit (int): How many there may be.

    Attributes:
        count (int): How many there are.
        is_draining (bool): Whether no more are allowed.
    """

    def __init__(self, limit):
        self.count = 0
        self.is_draining = False
        self._limit = limit
        self._changed = threading.Condition()

    def enter(self) -> bool:
        """Counts a request; returns whether it may be answered."""
        with self._changed:
            is_allowed = not self.is_draining and self.count < self._limit
            self.count += is_allowed
            return is_allowed

    def leave(self):
        """Takes back a request that was allowed."""
        with self._changed:
            self.count -= 1
            self._changed.notify_all()

    def drain(self, timeout):
        """Allows no more requests, and waits for up to some seconds until there are none."""
        with self._changed:
            self.is_draining = True
            self._changed.wait_for(lambda: not self.count, timeout)
