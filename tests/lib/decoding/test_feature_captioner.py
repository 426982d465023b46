import numpy
import pytest

from lib.captioner import Captioner
from lib.decoding.decode import DecodingOptions
from lib.decoding.ensemble import Ensemble
from lib.decoding.feature_captioner import FeatureCaptioner
from lib.decoding.neighbors import NeighborIndex
from lib.errors import InputError
from lib.features.table import FeatureTable
from tests.helpers.captioning import (
    DECODING,
    FEATURE_SIZE,
    assert_same_results,
    load_captioner,
    make_index,
)
from tests.helpers.samples import random_features


def test_only_the_given_rows_are_captioned(device, folder):
    captioner = FeatureCaptioner(Ensemble.load(folder.models, device))
    features, rows = device.send((random_features(5, FEATURE_SIZE), numpy.array([3, 0, 3])))
    results = captioner(features, DecodingOptions(**DECODING), rows)
    assert_same_results(results, captioner(features[rows], DecodingOptions(**DECODING)))


def test_features_of_other_types_are_converted(device, folder):
    captioner = load_captioner(device, folder.models[0])
    features = numpy.round(random_features(3, FEATURE_SIZE))
    results = captioner(features, **DECODING)
    for dtype in 'float64', 'int32':
        assert_same_results(captioner(features.astype(dtype), **DECODING), results)


def test_features_that_are_not_a_matrix_are_rejected(folder):
    with pytest.raises(InputError, match=r'shape \(12,\)'):
        Captioner.load(folder.models[0])(random_features(1, FEATURE_SIZE)[0])


def test_features_of_another_size_are_rejected(folder):
    captioner = Captioner.load(folder.models)
    with pytest.raises(InputError, match=r'size 13, .*a\.h5 .* size 12'):
        captioner(random_features(2, 13))


def test_limits_that_no_caption_meets_are_named(device, folder):
    captioner = load_captioner(device, folder.models)
    features = device.send(random_features(2, FEATURE_SIZE))
    with pytest.raises(InputError, match='min_length 30: no caption of this length repeats no 1-'):
        captioner(features, min_length=30, no_repeat_ngram=1)


def test_an_index_is_searched_by_features_wherever_they_are(device, folder, tmp_path):
    features = folder.features()
    index_path = make_index(folder, 'fc7', tmp_path / 'index.h5')
    captioner = FeatureCaptioner(
        Ensemble.load(folder.models, device), NeighborIndex.load(index_path, device)
    )
    options, array = DecodingOptions(**DECODING, mbr_neighbors=1), device.send(features)
    table = FeatureTable(features)
    expected = captioner(array, options)
    for own, of_index in (array, array), (array, table), (table, array):
        results = captioner(own, options, index_features=of_index)
        assert_same_results(results, expected)
