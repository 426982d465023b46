"""The index of training images and their captions."""

import dataclasses

import chainer
import numpy
import pytest

from lib.captions.dataset import CaptionDataset
from lib.captions.readers import read_karpathy
from lib.decoding.ensemble import Ensemble
from lib.decoding.neighbor_space import NeighborSpace
from lib.decoding.neighbors import KERNEL_RIDGE, NeighborIndex, regression_weights
from lib.errors import InputError
from lib.features.feature_source import FeatureSource
from lib.features.table import FeatureTable
from tests.helpers.samples import dataset, features_of, small_model

CPU = chainer.get_device('@numpy')
SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [1.0, 2.0, 3.0], 'warp')
to_cpu = CPU.send


def make_dataset(n_images=60):
    content = dataset(n_images)
    images = list(read_karpathy(content))
    return CaptionDataset.from_images(images, min_count=1), features_of(content)


@pytest.fixture(scope='module')
def data():
    return make_dataset()


@pytest.fixture(scope='module')
def index(data):
    return NeighborIndex.from_dataset(data[0], FeatureTable(data[1], SOURCE))


def on_device(index, device):
    """Returns a copy of an index on a device."""
    space = NeighborSpace(*(device.send(array.copy()) for array in vars(index.space).values()))
    return dataclasses.replace(index, vectors=device.send(index.vectors), space=space)


def assert_same_index(actual, expected):
    rounded = expected.vectors.astype('float16')
    numpy.testing.assert_array_equal(to_cpu(actual.vectors), rounded)
    for name in 'tokens', 'offsets', 'first_caption', 'fingerprints':
        numpy.testing.assert_array_equal(to_cpu(getattr(actual, name)), getattr(expected, name))
    for name, array in vars(expected.space).items():
        numpy.testing.assert_array_equal(to_cpu(getattr(actual.space, name)), array)
    for name in 'vocabulary', 'feature_source':
        assert getattr(actual, name) == getattr(expected, name)


def test_contains_the_training_images_with_their_captions(data, index):
    captions, _ = data
    images = captions.images_of('train')
    numpy.testing.assert_array_equal(index.fingerprints, captions.fingerprints_of(images))
    for number, image in enumerate(images):
        references = index._references(numpy.array([number]), numpy.array([1]))
        expected = [
            captions.tokens_of(caption).tolist()
            for caption in numpy.flatnonzero(captions.image == image)
        ]
        assert references.captions == expected
        assert references.weights == pytest.approx([1 / 2 / len(expected)] * len(expected))


@pytest.mark.parametrize('n_neighbors', [1, 4, 36, 100])
def test_finds_what_a_plain_search_finds(device, data, index, tmp_path, n_neighbors):
    index.save(tmp_path / 'index.h5')
    loaded = NeighborIndex.load(tmp_path / 'index.h5', device)
    assert_same_index(loaded, index)
    features = data[1][:5]
    vectors = index.space(features)
    numpy.testing.assert_allclose(numpy.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    similarities = vectors @ to_cpu(loaded.vectors).T
    images, actual = loaded.search(device.send(features), n_neighbors)
    for row in range(5):
        expected = numpy.sort(similarities[row])[-n_neighbors:]
        numpy.testing.assert_allclose(numpy.sort(actual[row]), expected, atol=1e-5)
        numpy.testing.assert_allclose(similarities[row][images[row]], actual[row], atol=1e-5)


def test_many_images_are_searched_in_parts(data, index, monkeypatch):
    expected = index.references(data[1][:5], 4)
    monkeypatch.setattr('lib.decoding.neighbors.SIMILARITIES_AT_ONCE', 2 * len(index.vectors))
    for references, whole in zip(index.references(data[1][:5], 4), expected, strict=True):
        assert references.captions == whole.captions
        numpy.testing.assert_allclose(references.weights, whole.weights, atol=1e-6)


def test_features_that_are_not_numbers_are_an_error(device, data, index):
    features = data[1][:2].copy()
    features[1, 0] = numpy.nan
    index = on_device(index, device)
    with pytest.raises(InputError, match='features that are NaN or too large'):
        index.references(device.send(features), 3)
    index.space.topics[...] = 3e38
    with pytest.raises(InputError, match='features that are NaN or too large'):
        index.references(device.send(data[1][:2]), 3)


def test_neighbors_are_weighed_by_kernel_ridge_regression():
    rng = numpy.random.default_rng(0)
    vectors = rng.normal(size=(9, 4))
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    quantity = rng.normal(size=8)
    # The kernel is the inner product of these.
    *known, image = numpy.einsum('ni,nj,nk->nijk', vectors, vectors, vectors).reshape(9, -1)
    covariance = numpy.transpose(known) @ known + KERNEL_RIDGE * numpy.eye(4**3)
    expected = image @ numpy.linalg.solve(covariance, numpy.transpose(known) @ quantity)
    weights = regression_weights(vectors[:8], vectors[:8] @ vectors[8])
    assert weights @ quantity == pytest.approx(expected)


def test_the_captions_of_an_image_share_its_weight(data, index):
    features = data[1][[3]]
    images, similarities = index.search(features, 6)
    (references,) = index.references(features, 6)
    n_captions = numpy.diff(index.first_caption)[images[0]]
    expected = regression_weights(index.vectors[images[0]], similarities[0])
    sums = numpy.add.reduceat(references.weights, numpy.cumsum([0, *n_captions[:-1]]))
    numpy.testing.assert_allclose(sums, expected)


def test_more_neighbors_than_images_are_all(data, index):
    (references,) = index.references(data[1][[3]], 10_000)
    assert len(references.captions) == index.first_caption[-1]


def test_neighbors_are_described_alike(data, index):
    """The features of the test data say which subject an image shows."""
    captions, features = data

    def subject_of(tokens):
        return captions.vocabulary.decode(tokens).split()[-1]

    images = captions.images_of('val')
    n_right = 0
    for image in images:
        (references,) = index.references(features[captions.imgid[[image]]], 1)
        # The last caption of each is "there is a SUBJECT".
        own = captions.tokens_of(numpy.flatnonzero(captions.image == image)[-1]).tolist()
        n_right += subject_of(references.captions[-1]) == subject_of(own)
    assert n_right > 0.8 * len(images)


@pytest.mark.parametrize(('n_varying', 'weights'), [(0, [0] * 3), (1, [-1 / 4, -1 / 4, 1 / 4])])
def test_features_with_little_variation_are_no_error(device, data, tmp_path, n_varying, weights):
    captions, features = data
    features = numpy.ones_like(features)
    features[:n_varying] = 2
    NeighborIndex.from_dataset(captions, FeatureTable(features)).save(tmp_path / 'index.h5')
    index = NeighborIndex.load(tmp_path / 'index.h5', device)
    (references,) = index.references(device.send(features[:1]), 3)
    actual = numpy.sort(references.weights)
    numpy.testing.assert_allclose(actual, numpy.repeat(weights, 5) / 5, atol=1e-4)


def test_many_captions_are_embedded_alike_by_both_methods(monkeypatch):
    captions, features = make_dataset(400)
    spaces = []
    for n_topics in 5, 6:
        monkeypatch.setattr('lib.decoding.neighbor_space.N_TOPICS', n_topics)
        index = NeighborIndex.from_dataset(captions, FeatureTable(features))
        spaces.append(index.space.topics)
    # The strongest first or last: the columns are the same but for order and sign.
    products = abs(numpy.corrcoef(spaces[0].T, spaces[1].T)[:5, 5:])
    assert (products.max(axis=1) > 0.999).all()


@pytest.mark.parametrize('n_images', [1, 5, 400])
def test_images_that_are_all_described_alike_are_no_error(n_images, tmp_path):
    captions, features = make_dataset(n_images)
    captions.tokens[:] = 3
    captions.split[:] = 0
    NeighborIndex.from_dataset(captions, FeatureTable(features)).save(tmp_path / 'index.h5')
    index = NeighborIndex.load(tmp_path / 'index.h5', CPU)
    assert len(index.references(features, 3)) == n_images


def test_features_that_are_too_large_are_an_error(data):
    captions, features = data
    features = numpy.full_like(features, 3e38)
    features[0] = -3e38
    with pytest.raises(InputError, match='feats.h5: the features are too large'):
        NeighborIndex.from_dataset(captions, FeatureTable(features, path='feats.h5'))


def test_features_of_a_size_that_needs_too_much_memory_are_an_error(data, monkeypatch):
    monkeypatch.setattr('lib.device.available_memory', lambda: 1000)
    with pytest.raises(InputError, match='feats.h5: an index of features of size 8 would take'):
        NeighborIndex.from_dataset(data[0], FeatureTable(data[1], path='feats.h5'))


def test_an_index_must_fit_the_models(data, index):
    captions, _ = data
    words = captions.vocabulary.tokens[3:]
    index.check_vocabulary(Ensemble([small_model(8, words)]))
    with pytest.raises(InputError, match='another vocabulary'):
        index.check_vocabulary(Ensemble([small_model(8)]))
    with pytest.raises(InputError, match='size 8, not 9'):
        index.references(numpy.ones((2, 9), 'float32'), 3)


def test_an_index_must_have_been_made_of_such_features(device, data, index):
    captions, array = data
    index = on_device(index, device)

    def check(array, source=None):
        index.check_features(FeatureTable(device.send(array), source, 'feats.h5'), captions)

    check(array)
    check(array, SOURCE)
    with pytest.raises(
        InputError, match='feats.h5: has features of layer fc6, but the index was made with'
    ):
        check(array, dataclasses.replace(SOURCE, layer='fc6'))
    with pytest.raises(InputError, match='size 8, not 9'):
        check(numpy.ones((60, 9), 'float32'))
    with pytest.raises(InputError, match='other features than those of feats.h5'):
        check(array[:, ::-1].copy())
    # Features of no training image are known, so there is nothing to compare.
    check(numpy.full_like(array, numpy.nan))
    index.fingerprints = numpy.zeros_like(index.fingerprints)
    check(array[:, ::-1].copy())


def test_images_must_not_be_evaluated_with_their_own_captions(data, index):
    captions, _ = data
    index.check_no_overlap(captions, captions.images_of('val'))
    with pytest.raises(InputError, match='captions of 36 of the images'):
        index.check_no_overlap(captions, captions.images_of('train'))


def test_images_are_known_in_other_data_sets(index):
    """With other splits, vocabulary and numbers, but the same file names and captions."""
    images = list(read_karpathy(dataset(60)))
    images = [
        image._replace(split='val', imgid=image.imgid + 1000, cocoid=image.imgid)
        for image in images
    ]
    other = CaptionDataset.from_images(images, min_count=30, train_splits=['val'])
    other.split[:] = 1
    with pytest.raises(InputError, match='captions of 36 of the images'):
        index.check_no_overlap(other, other.images_of('val'))
    renamed = [image._replace(filename=f'other/{image.filename}') for image in images]
    other = CaptionDataset.from_images(renamed, min_count=1, train_splits=['val'])
    index.check_no_overlap(other, other.images_of('train'))
