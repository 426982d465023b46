import chainer
import numpy
import pytest

from lib.captions.dataset import CaptionDataset
from lib.captions.packing import make_converter
from lib.captions.readers import read_dataset
from lib.decoding.ensemble import Ensemble
from lib.evaluation.likelihood import mean_log_prob
from tests.helpers.samples import dataset, features_of, small_model, write_json


def test_mean_log_prob_is_minus_the_loss_that_training_reports(device, tmp_path):
    content = dataset()
    path = write_json(tmp_path / 'dataset.json', content)
    captions = CaptionDataset.from_images(read_dataset([str(path)]), min_count=1)
    features = device.send(features_of(content))
    indices = captions.captions_of('val')
    model = small_model(words=captions.vocabulary.tokens[3:])
    network = model.network.to_device(device)
    arguments = make_converter(captions, features)(indices.tolist(), device)
    with chainer.using_config('train', False):
        loss = float(network(*arguments).array)
    for decoder, batch_size in (network, 256), (network, 4), (Ensemble([model]), 7):
        log_prob = mean_log_prob(decoder, captions, indices, features, batch_size)
        assert log_prob == pytest.approx(-loss, abs=1e-5)
    assert numpy.isfinite(mean_log_prob(Ensemble([model] * 2), captions, indices, features))
