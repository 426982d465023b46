"""The thread that captions the images of all requests."""

import queue
import threading
from concurrent.futures import Future
from typing import NamedTuple

from lib.decoding.options import DecodingOptions

# Images to caption at once: enough to be efficient, few enough for others not to wait long.
IMAGES_AT_ONCE = 32


class Job(NamedTuple):
    """An image to caption.

    Attributes:
        pixels (list of array): From :meth:`lib.captioner.Captioner.prepare`.
        models (tuple of int): The models to use, from 0.
        options (DecodingOptions): How to decode captions.
        result (Future): Becomes a list of :class:`lib.decoding.caption.Caption`.
    """

    pixels: list
    models: tuple[int, ...]
    options: DecodingOptions
    result: Future


class CaptionWorker:
    """Captions images in a thread of its own, the only one that uses the models.

    Images that arrive while it is busy are captioned together afterwards.

    Args:
        captioner (lib.captioner.Captioner): What captions them.

    Attributes:
        captioner (lib.captioner.Captioner): As above. Other threads may call its ``prepare``.
    """

    def __init__(self, captioner):
        self.captioner = captioner
        self._captioners = {}
        self._jobs = queue.SimpleQueue()
        threading.Thread(target=self._run, name='captions', daemon=True).start()

    def submit(self, pixels, models, options: DecodingOptions) -> Future:
        """Adds an image to those that wait; see :class:`Job`."""
        job = Job(pixels, models, options, Future())
        self._jobs.put(job)
        return job.result

    def _run(self):
        device = self.captioner.ensemble.device
        device.use()  # CuPy's current device is that of a thread
        while True:
            jobs = [self._jobs.get()]
            while len(jobs) < IMAGES_AT_ONCE and not self._jobs.empty():
                jobs.append(self._jobs.get())
            alike = {}
            for job in jobs:
                alike.setdefault((job.models, job.options), []).append(job)
            for group in alike.values():
                self._caption(group)

    def _caption(self, jobs):
        try:
            captions = self._captioner_of(jobs[0].models).caption_prepared(
                [job.pixels for job in jobs], jobs[0].options
            )
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].result.set_exception(error)
                return
            for job in jobs:  # one by one, so that only those fail that have to
                self._caption([job])
            return
        for job, result in zip(jobs, captions):
            job.result.set_result(result)

    def _captioner_of(self, models):
        if models not in self._captioners:
            self._captioners[models] = self.captioner.with_models(models)
        return self._captioners[models]
