"""A CNN, models and images to caption."""

import dataclasses

import chainer
import numpy

from lib.captioner import Captioner
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import CaptionedImage
from lib.decoding.neighbors import NeighborIndex
from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import FeatureSource
from lib.features.table import FeatureTable
from tests.helpers import caffemodels
from tests.helpers.assertions import assert_same_captions
from tests.helpers.samples import small_model, write_image

CPU = chainer.get_device('@numpy')
SOURCE = FeatureSource('vgg19.caffemodel', 'fc7', 224, [103.939, 116.779, 123.68], 'warp')
FEATURE_SIZE = 12
DECODING = {'beam_width': 4, 'top': 3, 'max_length': 6}


class Folder:
    """A folder with a CNN, two models trained on its features, and images."""

    def __init__(self, path):
        self.cnn = str(caffemodels.write_vgg19(path / 'vgg19.caffemodel', features=FEATURE_SIZE))
        self.models = [str(path / 'a.h5'), str(path / 'b.h5')]
        for seed, model in enumerate(self.models):
            small_model(FEATURE_SIZE, seed=seed, source=SOURCE, hidden_size=7 - seed).save(model)
        self.images = [str(write_image(path / f'{seed}.jpg', seed)) for seed in range(3)]

    def features(self):
        extractor = FeatureExtractor.load(self.cnn, CPU, SOURCE)
        ((_, features),) = extractor.extract(self.images, chunk_size=len(self.images))
        return features


def assert_same_results(actual, expected):
    """Checks that images have the same captions, with the same text."""
    assert len(actual) == len(expected)
    for captions, expected_captions in zip(actual, expected):
        assert_same_captions(captions, expected_captions)
        assert [caption.text for caption in captions] == [
            caption.text for caption in expected_captions
        ]


def load_captioner(device, paths, cnn=None, index=None):
    """Loads a captioner on a device."""
    gpu = -1 if device.xp is numpy else device.device.id
    return Captioner.load(paths, cnn=cnn, gpu=gpu, index=index)


def make_index(folder, layer, path):
    """Makes an index of the folder's images by a layer of the CNN; each has a caption."""
    source = dataclasses.replace(SOURCE, layer=layer)
    extractor = FeatureExtractor.load(folder.cnn, CPU, source)
    ((_, features),) = extractor.extract(folder.images, chunk_size=len(folder.images))
    vocabulary = small_model(FEATURE_SIZE).vocabulary
    # Each word is of two images, so that it counts, and the images differ.
    captions = [['a', 'dog'], ['runs', 'a'], ['dog', 'runs']]
    dataset = CaptionDataset.from_images(
        [
            CaptionedImage(n, -1, f'{n}.jpg', 'train', [tokens], [' '.join(tokens)])
            for n, tokens in enumerate(captions)
        ],
        min_count=1,
    )
    encoded = [token for tokens in captions for token in vocabulary.encode(tokens)]
    dataset.tokens, dataset.vocabulary = numpy.array(encoded, 'int32'), vocabulary
    NeighborIndex.from_dataset(dataset, FeatureTable(features, source)).save(path)
    return str(path)
