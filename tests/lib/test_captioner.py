import dataclasses
import doctest
import pathlib
import warnings

import chainer
import numpy
import pytest
from PIL import Image

from lib import captioner as captioner_module
from lib.captioner import Captioner
from lib.captions.batch import make_converter
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import CaptionedImage
from lib.decoding.beam_search import beam_search
from lib.decoding.ensemble import Ensemble
from lib.decoding.options import DecodingOptions
from lib.errors import InputError, InputWarning
from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import FeatureSource
from lib.features.images import UnreadableImageError, read_image
from lib.trained_model import TrainedModel
from models.show_and_tell import ShowAndTell
from tests.helpers import caffemodels
from tests.helpers.assertions import assert_same_captions
from tests.helpers.captioning import (
    CPU,
    DECODING,
    FEATURE_SIZE,
    SOURCE,
    assert_same_results,
    load_captioner,
)
from tests.helpers.samples import random_features, small_model, write_image


@pytest.mark.parametrize('n_models', [1, 2])
def test_paths_images_and_features_give_the_same_captions(device, folder, n_models):
    captioner = load_captioner(device, folder.models[:n_models], folder.cnn)
    results = captioner(folder.images, **DECODING)
    images, features = [read_image(path) for path in folder.images], folder.features()
    assert_same_results(captioner(images, **DECODING), results)
    without_cnn = load_captioner(device, folder.models[:n_models])
    # Features may be on the CPU or on the device.
    for array in features, device.send(features):
        assert_same_results(captioner(array, **DECODING), results)
        assert_same_results(without_cnn(array, **DECODING), results)


@pytest.mark.parametrize('n_models', [1, 2])
def test_captions_are_those_of_beam_search(device, folder, n_models):
    paths = folder.models[:n_models]
    results = load_captioner(device, paths, folder.cnn)(folder.images, **DECODING)
    ensemble = Ensemble.load(paths, CPU)
    expected = beam_search(ensemble, folder.features(), **DECODING)
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
    captioner = load_captioner(device, folder.models, folder.cnn)
    features = folder.features()
    expected = captioner(folder.images, **DECODING)
    monkeypatch.setattr(captioner_module, 'IMAGES_AT_ONCE', 2)
    monkeypatch.setattr(captioner_module, 'FEATURES_AT_ONCE', 2)
    monkeypatch.setattr(captioner_module, 'CAPTIONS_AT_ONCE', 2)
    assert_same_results(captioner(folder.images, **DECODING), expected)
    assert_same_results(captioner(features, **DECODING), expected)


def test_only_the_given_rows_are_captioned(device, folder):
    captioner = Captioner(Ensemble.load(folder.models, device))
    features, rows = device.send(random_features(5, FEATURE_SIZE)), numpy.array([3, 0, 3])
    options = DecodingOptions(**DECODING)
    results = captioner.caption_features(features, options, rows)
    assert_same_results(results, captioner.caption_features(features[[3, 0, 3]], options))


def test_features_of_other_types_are_converted(device, folder):
    captioner = load_captioner(device, folder.models[0])
    features = numpy.round(random_features(3, FEATURE_SIZE))
    results = captioner(features, **DECODING)
    for dtype in 'float64', 'int32':
        assert_same_results(captioner(features.astype(dtype), **DECODING), results)


def test_features_of_another_shape_or_type_are_rejected(folder):
    captioner = Captioner.load(folder.models)
    for features, message in (
        (random_features(1, FEATURE_SIZE)[0], r'shape \(12,\)'),
        (random_features(2, 13), r'size 13, .*a\.h5 .* size 12'),
        (numpy.full((1, FEATURE_SIZE), 'text'), 'not real numbers'),
    ):
        with pytest.raises(InputError, match=message):
            captioner(features)


def test_captions_without_a_finite_log_probability_are_an_error(device, folder):
    captioner = load_captioner(device, folder.models)
    features = random_features(2, FEATURE_SIZE)
    with pytest.raises(InputError, match='no caption meets the limits'):
        captioner(features, min_length=30, no_repeat_ngram=1)
    with pytest.raises(InputError, match='the features are too large'):
        captioner(features * numpy.float32('nan'))


def test_caption_images_yields_each_image_with_its_captions(folder):
    captioner = Captioner.load(folder.models, cnn=folder.cnn)
    images, results = zip(*captioner.caption_images(folder.images, DecodingOptions(**DECODING)))
    assert list(images) == folder.images
    assert_same_results(results, captioner(folder.images, **DECODING))


def test_no_images_and_no_features_have_no_captions(device, folder):
    captioner = load_captioner(device, folder.models, folder.cnn)
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
    extractor = FeatureExtractor.load(folder.cnn, CPU, source)
    ((_, features),) = extractor.extract(folder.images, chunk_size=3)
    assert_same_results(captioner(folder.images), captioner(features))


@pytest.mark.parametrize(
    'extraction, message',
    [
        ({'layer': 'fc6'}, 'layer fc6 .* trained with fc7'),
        ({'resize': 'crop'}, 'resize crop .* trained with warp'),
        ({'mean': [1.0, 2.0, 3.0]}, r'mean \[1\.0, 2\.0, 3\.0\] .* trained with \[103\.939, '),
        ({'image_size': 223}, 'image size 223 .* trained with 224'),
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


def test_a_layer_of_another_size_is_rejected(folder):
    with pytest.warns(InputWarning):
        captioner = Captioner.load(folder.models, cnn=folder.cnn, layer='fc8')
    with pytest.raises(InputError, match=r'layer fc8 .* size 10, .*a\.h5 .* size 12'):
        captioner(folder.images)


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
    (batch,) = make_converter(dataset, features)([0], CPU)
    numpy.random.seed(0)
    network = ShowAndTell(features.shape[1], len(dataset.vocabulary), 16, 16, dropout=0)
    network.feature_scale[:] = 1 / abs(features).max()
    optimizer = chainer.optimizers.Adam(alpha=0.05).setup(network)
    for _ in range(60):
        optimizer.update(network, batch)
    source = dataclasses.replace(SOURCE, network='VGG_ILSVRC_19_layers.caffemodel')
    return TrainedModel(network, dataset.vocabulary, source)


def test_the_docstring_example_prints_the_expected_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cnn = caffemodels.write_vgg19(tmp_path / 'VGG_ILSVRC_19_layers.caffemodel')
    write_image(tmp_path / 'dog.jpg')
    extractor = FeatureExtractor.load(cnn, CPU)
    ((_, features),) = extractor.extract(['dog.jpg'], chunk_size=1)
    train_on_one_caption(features, 'a dog runs on the beach').save('best.h5')

    (example,) = doctest.DocTestFinder(recurse=False).find(Captioner, globs={})
    results = doctest.DocTestRunner().run(example)
    assert results.failed == 0
    assert results.attempted == len(example.examples) > 0
