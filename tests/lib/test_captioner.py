import dataclasses
import doctest
import pathlib
import shutil
import warnings

import chainer
import numpy
import pytest
from PIL import Image

from lib import captioner as captioner_module
from lib.captioner import Captioner
from lib.captions.captioned_image import CaptionedImage
from lib.captions.dataset import CaptionDataset
from lib.captions.packing import make_converter
from lib.decoding.beam_search import beam_search
from lib.decoding.constraints import fault_constraints
from lib.decoding.decode import DecodingOptions
from lib.decoding.ensemble import Ensemble
from lib.decoding.minimum_bayes_risk import expected_cider
from lib.decoding.neighbors import NeighborIndex
from lib.errors import InputError, InputWarning
from lib.features.extractor import VGG19, FeatureExtractor
from lib.features.feature_file import Features, save_features
from lib.features.feature_source import ExternalSource, FeatureSource
from lib.features.images import UnreadableImageError, read_image
from lib.features.stored_features import StoredFeatures
from lib.trained_model import TrainedModel
from models.show_and_tell import ShowAndTell
from tests.helpers import caffemodels
from tests.helpers.assertions import assert_same_captions
from tests.helpers.samples import random_features, small_model, write_image

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


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return Folder(tmp_path_factory.mktemp('captioner'))


def assert_same_results(actual, expected):
    """Checks that images have the same captions, with the same text."""
    assert len(actual) == len(expected)
    for captions, expected_captions in zip(actual, expected):
        assert_same_captions(captions, expected_captions)
        assert [caption.text for caption in captions] == [
            caption.text for caption in expected_captions
        ]


def make_index(folder, layer, path):
    """Makes an index of the folder's images by a layer of the CNN; each has a caption."""
    source = dataclasses.replace(SOURCE, layer=layer)
    extractor = FeatureExtractor.load(folder.cnn, CPU, source)
    ((_, features),) = extractor.extract(folder.images, chunk_size=len(folder.images))
    vocabulary = small_model(FEATURE_SIZE).vocabulary
    captions = [['a', 'dog'], ['cat', 'runs'], ['runs']]
    dataset = CaptionDataset.from_images(
        [
            CaptionedImage(n, -1, f'{n}.jpg', 'train', [tokens], [' '.join(tokens)])
            for n, tokens in enumerate(captions)
        ],
        min_count=1,
    )
    encoded = [token for tokens in captions for token in vocabulary.encode(tokens)]
    dataset.tokens, dataset.vocabulary = numpy.array(encoded, 'int32'), vocabulary
    NeighborIndex.from_dataset(dataset, Features(features, source)).save(path)
    return str(path)


@pytest.mark.parametrize('layer', ['fc7', 'pool5'])
def test_captions_are_ranked_by_those_of_similar_images(device, folder, tmp_path, layer):
    index_path = make_index(folder, layer, tmp_path / 'index.h5')
    gpu = -1 if device.xp is numpy else device.device.id
    captioner = Captioner.load(folder.models, cnn=folder.cnn, gpu=gpu, index=index_path)
    assert captioner.has_index
    results = captioner(folder.images, **DECODING, mbr_neighbors=1)
    index = NeighborIndex.load(index_path, CPU)
    beams = captioner(folder.images, beam_width=4, top=4, max_length=6)
    for number, (captions, beam) in enumerate(zip(results, beams)):
        # The image itself is its nearest neighbor.
        start, stop = index.offsets[number : number + 2]
        gains = expected_cider([c.tokens for c in beam], [index.tokens[start:stop].tolist()])
        expected = [beam[n] for n in numpy.argsort(-gains, kind='stable')[:3]]
        assert [c.tokens for c in captions] == [c.tokens for c in expected]
    prepared = [captioner.prepare(image) for image in folder.images]
    options = DecodingOptions(**DECODING, mbr_neighbors=1)
    assert_same_results(captioner.caption_prepared(prepared, options), results)
    same = captioner.with_models([0, 1])
    assert_same_results(same(folder.images, **DECODING, mbr_neighbors=1), results)


def test_an_index_is_searched_by_features_wherever_they_are(device, folder, tmp_path):
    features, gpu = folder.features(), -1 if device.xp is numpy else device.device.id
    index_path = make_index(folder, 'fc7', tmp_path / 'index.h5')
    captioner = Captioner.load(folder.models, gpu=gpu, index=index_path)
    save_features(tmp_path / 'features.h5', Features(features))
    stored = StoredFeatures([tmp_path / 'features.h5'])
    stored.open()
    options, array = DecodingOptions(**DECODING, mbr_neighbors=1), device.send(features)
    expected = captioner.caption_features(array, options)
    # Features that are read from the disk take indices of the CPU only.
    for own, of_index in (array, array), (array, stored), (stored, array):
        results = captioner.caption_features(own, options, index_features=of_index)
        assert_same_results(results, expected)


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


def test_neighbors_need_an_index(folder):
    with pytest.raises(InputError, match='needs an index') as raised:
        Captioner.load(folder.models)(folder.features(), mbr_neighbors=3)
    assert raised.value.option == 'mbr_neighbors'


def load(device, paths, cnn=None):
    """Loads a captioner on a device."""
    gpu = -1 if device.xp is numpy else device.device.id
    return Captioner.load(paths, cnn=cnn, gpu=gpu)


@pytest.mark.parametrize('n_models', [1, 2])
def test_paths_images_and_features_give_the_same_captions(device, folder, n_models):
    captioner = load(device, folder.models[:n_models], folder.cnn)
    results = captioner(folder.images, **DECODING)
    images, features = [read_image(path) for path in folder.images], folder.features()
    assert_same_results(captioner(images, **DECODING), results)
    without_cnn = load(device, folder.models[:n_models])
    # Features may be on the CPU or on the device.
    for array in features, device.send(features):
        assert_same_results(captioner(array, **DECODING), results)
        assert_same_results(without_cnn(array, **DECODING), results)


@pytest.mark.parametrize('n_models', [1, 2])
def test_captions_are_those_of_beam_search(device, folder, n_models):
    paths = folder.models[:n_models]
    results = load(device, paths, folder.cnn)(folder.images, **DECODING)
    ensemble = Ensemble.load(paths, CPU)
    constraints = fault_constraints(ensemble, DecodingOptions())
    expected = beam_search(ensemble, folder.features(), **DECODING, constraints=constraints)
    assert len(results) == len(expected)
    for captions, expected_captions in zip(results, expected):
        assert_same_captions(captions, expected_captions)
        for caption in captions:
            assert caption.text == ensemble.vocabulary.decode(caption.tokens)


def test_one_model_may_be_given_without_a_list(folder):
    features = random_features(2, FEATURE_SIZE)
    results = Captioner.load(folder.models[0])(features)
    assert results == Captioner.load(folder.models[:1])(features)
    assert results != Captioner.load(folder.models)(features)


def test_captions_do_not_depend_on_how_many_images_are_decoded_at_once(device, folder, monkeypatch):
    captioner = load(device, folder.models, folder.cnn)
    features = folder.features()
    expected = captioner(folder.images, **DECODING)
    monkeypatch.setattr(captioner_module, 'IMAGES_AT_ONCE', 2)
    monkeypatch.setattr(captioner_module, 'FEATURES_AT_ONCE', 2)
    monkeypatch.setattr(captioner_module, 'CAPTIONS_AT_ONCE', 2)
    assert_same_results(captioner(folder.images, **DECODING), expected)
    assert_same_results(captioner(features, **DECODING), expected)


def test_caption_images_yields_each_image_with_its_captions(folder):
    captioner = Captioner.load(folder.models, cnn=folder.cnn)
    images, results = zip(*captioner.caption_images(folder.images, DecodingOptions(**DECODING)))
    assert list(images) == folder.images
    assert_same_results(results, captioner(folder.images, **DECODING))


def test_caption_features_captions_the_given_rows(device, folder):
    captioner = load(device, folder.models)
    features, rows = device.send((random_features(5, FEATURE_SIZE), numpy.array([3, 0, 3])))
    results = captioner.caption_features(features, DecodingOptions(**DECODING), rows)
    assert_same_results(results, captioner(features[rows], **DECODING))


def test_no_images_and_no_features_have_no_captions(device, folder):
    captioner = load(device, folder.models, folder.cnn)
    assert captioner([]) == captioner(random_features(0, FEATURE_SIZE)) == []


def test_an_unreadable_image_raises_an_error_that_names_it(folder, tmp_path):
    captioner = Captioner.load(folder.models, cnn=folder.cnn)
    (tmp_path / 'broken.jpg').write_text('not an image')
    for name in 'broken.jpg', 'missing.jpg':
        with pytest.raises(UnreadableImageError, match=name):
            captioner([folder.images[0], str(tmp_path / name)])


def test_on_error_gets_the_errors_of_unreadable_images(folder, tmp_path):
    captioner = Captioner.load(folder.models, cnn=folder.cnn)
    paths = [folder.images[0], str(tmp_path / 'missing.jpg'), *folder.images[1:]]
    errors = []
    images, results = zip(
        *captioner.caption_images(paths, DecodingOptions(**DECODING), errors.append)
    )
    assert list(images) == folder.images
    assert_same_results(results, captioner(folder.images, **DECODING))
    (error,) = errors
    assert isinstance(error, UnreadableImageError)
    assert 'missing.jpg' in str(error)


def test_features_are_extracted_as_the_model_was_trained_without_a_warning(folder, tmp_path):
    source = FeatureSource('vgg19.caffemodel', 'fc6', 224, [1.0, 2.0, 3.0], 'crop')
    small_model(FEATURE_SIZE, source=source).save(tmp_path / 'fc6.h5')
    with warnings.catch_warnings():
        warnings.simplefilter('error', InputWarning)
        captioner = Captioner.load(str(tmp_path / 'fc6.h5'), cnn=folder.cnn)
    extractor = FeatureExtractor(folder.cnn, source, CPU)
    ((_, features),) = extractor.extract(folder.images, chunk_size=3)
    assert_same_results(captioner(folder.images), captioner(features))


@pytest.mark.parametrize(
    'extraction, message',
    [
        ({'layer': 'fc6'}, 'layer fc6 .* trained with fc7'),
        ({'resize': 'crop'}, 'resize crop .* trained with warp'),
        ({'mean': [1.0, 2.0, 3.0]}, r'mean \[1\.0, 2\.0, 3\.0\] .* trained with \[103\.939, '),
        ({'image_size': 230}, 'image size 230 .* trained with 224'),
    ],
    ids=['layer', 'resize', 'mean', 'image size'],
)
def test_extraction_that_differs_from_training_warns(folder, extraction, message):
    with pytest.warns(InputWarning, match=message) as record:
        Captioner.load(folder.models, cnn=folder.cnn, **extraction)
    (warning,) = (warning for warning in record if warning.category is InputWarning)
    assert warning.filename == __file__


def test_a_cnn_other_than_that_of_training_warns(folder, tmp_path):
    other = str(caffemodels.write_vgg19(tmp_path / 'other.caffemodel', features=FEATURE_SIZE))
    with pytest.warns(InputWarning, match=r'other\.caffemodel .* vgg19\.caffemodel'):
        Captioner.load(folder.models, cnn=other)


def test_karpathys_features_are_extracted_if_those_of_training_are_unknown(folder, tmp_path):
    small_model(FEATURE_SIZE).save(tmp_path / 'model.h5')
    with warnings.catch_warnings():
        warnings.simplefilter('error', InputWarning)
        captioner = Captioner.load(str(tmp_path / 'model.h5'), cnn=folder.cnn)
    assert_same_results(captioner(folder.images), captioner(folder.features()))


def test_images_need_a_cnn(folder):
    captioner = Captioner.load(folder.models)
    with pytest.raises(InputError, match='CNN'):
        captioner(folder.images)


def test_files_that_cannot_be_used_are_named(folder, tmp_path):
    (tmp_path / 'text').write_text('neither a model nor a CNN')
    with pytest.raises(InputError, match='text: '):
        Captioner.load(str(tmp_path / 'text'), cnn=folder.cnn)
    with pytest.raises(InputError, match='text: '):
        Captioner.load(folder.models, cnn=str(tmp_path / 'text'))
    with pytest.raises(InputError, match='missing: '):
        Captioner.load(str(tmp_path / 'missing'), cnn=folder.cnn)


def test_a_missing_cnn_is_named(folder, tmp_path):
    with pytest.raises(InputError, match='missing: No such file'):
        Captioner.load(folder.models, cnn=str(tmp_path / 'missing'))


def test_a_single_path_or_image_counts_as_a_list_of_one(folder):
    captioner = Captioner.load(pathlib.Path(folder.models[0]), cnn=folder.cnn)
    path = folder.images[0]
    results = captioner([path], **DECODING)
    for image in path, pathlib.Path(path), read_image(path):
        assert_same_results(captioner(image, **DECODING), results)


@pytest.mark.parametrize('mean', [tuple(SOURCE.mean), numpy.array(SOURCE.mean)], ids=type)
def test_the_same_mean_in_another_container_does_not_warn(folder, mean):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        Captioner.load(folder.models, cnn=folder.cnn, mean=mean)


def test_features_of_other_types_are_converted(device, folder):
    captioner = load(device, folder.models[0])
    features = numpy.round(random_features(3, FEATURE_SIZE))
    results = captioner(features, **DECODING)
    for dtype in 'float64', 'int32':
        assert_same_results(captioner(features.astype(dtype), **DECODING), results)


def test_an_image_in_memory_is_rotated_as_its_file_is(folder, tmp_path):
    captioner = Captioner.load(folder.models[0], cnn=folder.cnn)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path = write_image(tmp_path / 'turned.jpg', exif=exif)
    with Image.open(path) as image:
        assert_same_results(captioner(image, **DECODING), captioner(path, **DECODING))


def test_a_damaged_image_in_memory_is_unreadable(folder, tmp_path):
    path = write_image(tmp_path / 'damaged.jpg')
    path.write_bytes(path.read_bytes()[:-300])
    with Image.open(path) as image, pytest.raises(UnreadableImageError):
        Captioner.load(folder.models[0], cnn=folder.cnn)([image])


def test_no_models_are_rejected():
    with pytest.raises(InputError, match='no models'):
        Captioner.load([])


def test_features_that_are_not_a_matrix_are_rejected(folder):
    with pytest.raises(InputError, match=r'shape \(12,\)'):
        Captioner.load(folder.models[0])(random_features(1, FEATURE_SIZE)[0])


def test_features_of_another_size_are_rejected(folder):
    captioner = Captioner.load(folder.models)
    with pytest.raises(InputError, match=r'size 13, .*a\.h5 .* size 12'):
        captioner(random_features(2, 13))


def test_a_layer_of_another_size_is_rejected(folder):
    with pytest.warns(InputWarning):
        captioner = Captioner.load(folder.models, cnn=folder.cnn, layer='fc8')
    with pytest.raises(InputError, match=r'layer fc8 .* size 10, .*a\.h5 .* size 12'):
        captioner(folder.images)


def test_limits_that_no_caption_meets_are_named(device, folder):
    captioner = load(device, folder.models)
    features = device.send(random_features(2, FEATURE_SIZE))
    with pytest.raises(InputError, match='min_length 30: no caption of this length repeats no 1-'):
        captioner(features, min_length=30, no_repeat_ngram=1)


def test_contradicting_options_are_rejected(folder):
    captioner = Captioner.load(folder.models, cnn=folder.cnn)
    for images in folder.images, folder.features():
        with pytest.raises(InputError) as info:
            captioner(images, beam_width=3, top=4)
        assert info.value.option == 'top'


def train_on_one_caption(features, caption):
    """Returns a model that has learned to give features (1, D) a caption."""
    images = [CaptionedImage(0, -1, 'dog.jpg', 'train', [caption.split()], [caption])]
    dataset = CaptionDataset.from_images(images, min_count=1)
    batch = make_converter(dataset, features)([0], CPU)
    numpy.random.seed(0)
    network = ShowAndTell(features.shape[1], len(dataset.vocabulary), 16, 16, dropout=0)
    network.feature_scale[:] = 1 / abs(features).max()
    optimizer = chainer.optimizers.Adam(alpha=0.05).setup(network)
    for _ in range(60):
        optimizer.update(network, *batch)
    return TrainedModel(network, dataset.vocabulary, VGG19)


def test_the_docstring_example_prints_the_expected_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    caffemodels.write_vgg19(tmp_path / VGG19.network)
    write_image(tmp_path / 'dog.jpg')
    extractor = FeatureExtractor.load(VGG19.network, CPU)
    ((_, features),) = extractor.extract(['dog.jpg'], chunk_size=1)
    train_on_one_caption(features, 'a dog runs on the beach').save('best.h5')

    (example,) = doctest.DocTestFinder(recurse=False).find(Captioner, globs={})
    results = doctest.DocTestRunner().run(example)
    assert results.failed == 0
    assert results.attempted == len(example.examples) > 0
