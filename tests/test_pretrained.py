"""The model in pretrained/ is what its card says, and captions photographs."""

import os

import pytest

from lib.captioner import Captioner
from lib.trained_model import TrainedModel
from tests.helpers.assertions import assert_same_captions
from tests.helpers.real_data import real
from tests.helpers.samples import random_features, small_model
from tests.helpers.scripts import ROOT

MODEL = os.path.join(ROOT, 'pretrained', 'flickr8k.h5')


def test_the_model_records_how_to_extract_its_features():
    model = TrainedModel.load(MODEL)
    source = model.feature_source
    assert (source.network, source.layer) == ('efficientnet_lite2.onnx', 'pool')
    assert (source.image_size, source.channels, source.augment) == (260, 'RGB', 'flip')
    assert all(param.dtype == 'float32' for param in model.network.params())
    assert os.path.getsize(MODEL) < 11_000_000


@pytest.mark.parametrize(
    'name, words',
    [('756521713_5d3da56a54.jpg', {'dog', 'grass'}), ('862156271_3eacea90a8.jpg', {'woman'})],
)
def test_photographs_are_captioned_without_training(name, words):
    cnn = real('efficientnet', 'efficientnet_lite2.onnx')
    captioner = Captioner.load(MODEL, cnn)
    ((best,),) = captioner(real('flickr8k', 'photos', name), beam_width=3, top=1)
    assert words <= {*best.text.split()}


def test_half_precision_halves_the_file_and_hardly_changes_captions(tmp_path):
    model = small_model(hidden_size=64)
    for half in False, True:
        model.save(str(tmp_path / f'{half}.h5'), half=half)
    sizes = [os.path.getsize(tmp_path / f'{half}.h5') for half in (True, False)]
    assert sizes[0] < 0.7 * sizes[1]
    features = random_features(4)
    whole, halved = (
        Captioner.load(str(tmp_path / f'{half}.h5'))(features, beam_width=3, max_length=4)
        for half in (False, True)
    )
    for captions, expected in zip(halved, whole):
        assert_same_captions(captions[:1], expected[:1], atol=0.1)
