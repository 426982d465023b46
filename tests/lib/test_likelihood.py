from lib.caption_file import Captions
from lib.datasets import read_datasets
from lib.ensemble import Ensemble
from lib.likelihood import mean_log_prob
from lib.minibatch import make_converter
from tests.samples import dataset, features_of, small_model, write_json

import chainer
import numpy
import pytest


def test_is_the_loss_that_training_reports(tmp_path):
    content = dataset()
    path = write_json(tmp_path / 'd.json', content)
    captions = Captions.from_images(read_datasets([str(path)]), 1)
    features = features_of(content)
    indices = captions.captions_of('val')
    network = small_model(words=captions.vocabulary.words[3:]).network
    device = chainer.get_device('@numpy')
    with chainer.using_config('train', False):
        loss = network(*make_converter(captions, features)(indices.tolist(), device))
    for model, batch_size in (network, 256), (network, 4), (Ensemble([network]), 7):
        assert mean_log_prob(model, captions, indices, features, batch_size) == pytest.approx(
            -float(loss.array), abs=1e-5)
    assert numpy.isfinite(mean_log_prob(Ensemble([network] * 2), captions, indices, features))
