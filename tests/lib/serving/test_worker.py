"""The thread that captions the images of all requests."""

import threading

import numpy
import pytest

from lib.decoding.ensemble import Ensemble
from lib.decoding.options import DecodingOptions
from lib.serving.worker import IMAGES_AT_ONCE, CaptionWorker
from tests.helpers.samples import small_model

OPTIONS, OTHER_OPTIONS = DecodingOptions(top=3), DecodingOptions(top=4)


class RecordingCaptioner:
    """Returns the mean of an image as its caption, when it is told to.

    Attributes:
        batches (list): Models, options and images of each call.
    """

    def __init__(self, batches, models=None):
        self.ensemble = Ensemble([small_model()])
        self.batches, self.models = batches, models
        self.may_go_on = threading.Event()

    def with_models(self, models):
        captioner = RecordingCaptioner(self.batches, models)
        captioner.may_go_on = self.may_go_on
        return captioner

    def caption_prepared(self, pixels, options):
        self.batches.append((self.models, options, [int(image) for image in pixels]))
        assert self.may_go_on.wait(60)
        if any(image < 0 for image in pixels):
            raise ValueError('negative')
        return [float(image) for image in pixels]


@pytest.fixture
def captioner():
    return RecordingCaptioner([])


def submit(worker, value, models=(0,), options=OPTIONS):
    return worker.submit(numpy.float32(value), models, options)


def test_images_that_wait_are_captioned_together(captioner):
    worker = CaptionWorker(captioner)
    results = [submit(worker, 0)]
    while not captioner.batches:
        pass
    results += [submit(worker, n) for n in range(1, 6)]
    results.append(submit(worker, 6, options=OTHER_OPTIONS))
    results.append(submit(worker, 7, models=(0, 1)))
    results.append(submit(worker, 8))
    captioner.may_go_on.set()
    assert [result.result(60) for result in results] == list(range(9))
    assert captioner.batches == [
        ((0,), OPTIONS, [0]),
        ((0,), OPTIONS, [1, 2, 3, 4, 5, 8]),
        ((0,), OTHER_OPTIONS, [6]),
        ((0, 1), OPTIONS, [7]),
    ]


def test_no_batch_is_too_large(captioner):
    worker = CaptionWorker(captioner)
    results = [submit(worker, n) for n in range(3 * IMAGES_AT_ONCE)]
    captioner.may_go_on.set()
    assert [result.result(60) for result in results] == list(range(3 * IMAGES_AT_ONCE))
    assert max(len(images) for _, _, images in captioner.batches) == IMAGES_AT_ONCE


def test_an_image_that_fails_leaves_the_others_alone(captioner):
    worker = CaptionWorker(captioner)
    values = [1, -1, 2, -2, 3]
    results = [submit(worker, value) for value in values]
    captioner.may_go_on.set()
    for value, result in zip(values, results):
        if value < 0:
            with pytest.raises(ValueError, match='negative'):
                result.result(60)
        else:
            assert result.result(60) == value
    assert submit(worker, 9).result(60) == 9
