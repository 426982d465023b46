import shutil

import numpy
import pytest

from lib.captioner import Captioner
from lib.decoding.ensemble import Ensemble
from lib.decoding.minimum_bayes_risk import cider
from lib.decoding.neighbors import NeighborIndex
from lib.decoding.options import DecodingOptions
from lib.errors import InputError, InputWarning
from lib.features.feature_source import ExternalSource
from lib.trained_model import TrainedModel
from tests.helpers.captioning import (
    CPU,
    DECODING,
    SOURCE,
    assert_same_results,
    load_captioner,
    make_index,
)


@pytest.mark.parametrize('layer', ['fc7', 'pool5'])
def test_captions_are_ranked_by_those_of_similar_images(device, folder, tmp_path, layer):
    index_path = make_index(folder, layer, tmp_path / 'index.h5')
    captioner = load_captioner(device, folder.models, folder.cnn, index_path)
    assert captioner.has_index
    results = captioner(folder.images, **DECODING, mbr_neighbors=1)
    index = NeighborIndex.load(index_path, CPU)
    options = {'beam_width': 4, 'top': 4, 'max_length': 6}
    beams = [
        load_captioner(device, [model], folder.cnn)(folder.images, **options)
        for model in folder.models
    ]
    for number, (captions, *beams_of_image) in enumerate(zip(results, *beams)):
        # The image itself is its nearest neighbor.
        start, stop = index.offsets[number : number + 2]
        found = {tuple(c.tokens): c.tokens for beam in beams_of_image for c in beam}
        candidates = list(found.values())
        gains = cider(candidates, [index.tokens[start:stop].tolist()])[:, 0]
        expected = [candidates[n] for n in numpy.argsort(-gains, kind='stable')[:3]]
        assert [c.tokens for c in captions] == expected


def test_features_of_another_program_may_be_those_of_the_index_and_the_models(folder, tmp_path):
    index = NeighborIndex.load(make_index(folder, 'fc7', tmp_path / 'index.h5'), CPU)
    model = TrainedModel.load(folder.models[0])
    paths = model_path, index_path = tmp_path / 'model.h5', tmp_path / 'external_index.h5'
    for content, path in zip((model, index), paths):
        content.feature_source = ExternalSource.of('clip.npz')
        content.save(path)
    captioner = Captioner.load(
        model_path, cnn=folder.cnn, index=index_path, layer='fc7', mean=SOURCE.mean
    )
    results = captioner(folder.images, **DECODING, mbr_neighbors=1)
    known = Captioner.load(folder.models[0], cnn=folder.cnn, index=tmp_path / 'index.h5')
    assert_same_results(results, known(folder.images, **DECODING, mbr_neighbors=1))


def test_an_index_of_features_that_cannot_be_extracted_is_refused(folder, tmp_path):
    index = NeighborIndex.load(make_index(folder, 'fc7', tmp_path / 'index.h5'), CPU)
    index.feature_source = ExternalSource.of('a.h5', 'b.h5')
    index.save(tmp_path / 'index.h5')
    with pytest.raises(InputError, match='of another program or of several files combined'):
        Captioner.load(folder.models, cnn=folder.cnn, index=tmp_path / 'index.h5')


def test_an_index_of_another_cnn_is_named(folder, tmp_path):
    path = make_index(folder, 'fc6', tmp_path / 'index.h5')
    with pytest.warns(InputWarning) as record:
        Captioner.load(
            folder.models, cnn=shutil.copy(folder.cnn, tmp_path / 'other.caffemodel'), index=path
        )
    assert [str(warning.message).split(' is used, but ')[1] for warning in record] == [
        'the model was trained with vgg19.caffemodel',
        f'{path} was made with vgg19.caffemodel',
    ]
    index = NeighborIndex.load(path, CPU)
    index.feature_source.layer = 'pool10'
    index.save(path)
    with pytest.raises(InputError, match=r'index\.h5: was made of features that .* no such layer'):
        Captioner.load(folder.models, cnn=folder.cnn, index=path)


def test_an_index_alone_ranks_the_captions_of_a_wide_beam(device, folder, tmp_path):
    captioner = load_captioner(
        device, folder.models, folder.cnn, make_index(folder, 'fc7', tmp_path / 'index.h5')
    )
    results = captioner(folder.images, max_length=6)
    ranked = captioner(folder.images, max_length=6, beam_width=50, mbr_neighbors=100)
    assert_same_results(results, ranked)
    plain = captioner(folder.images, max_length=6, mbr_neighbors=0)
    assert [c.text for c, *_ in plain] != [c.text for c, *_ in results]
    samples = captioner(folder.images, search='sample', top=4)
    assert [len(captions) for captions in samples] == [4] * len(folder.images)


def test_an_index_is_searched_by_features_wherever_they_are(device, folder, tmp_path):
    features = folder.features()
    index = NeighborIndex.load(make_index(folder, 'fc7', tmp_path / 'index.h5'), device)
    captioner = Captioner(Ensemble.load(folder.models, device), index=index)
    options, array = DecodingOptions(**DECODING, mbr_neighbors=1), device.send(features)
    expected = captioner.caption_features(array, options)
    for own, of_index in (array, array), (array, features), (features, array):
        results = captioner.caption_features(own, options, index_features=of_index)
        assert_same_results(results, expected)


def test_neighbors_need_an_index(folder):
    with pytest.raises(InputError, match='needs an index') as raised:
        Captioner.load(folder.models)(folder.features(), mbr_neighbors=3)
    assert raised.value.option == 'mbr_neighbors'
