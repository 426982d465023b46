import chainer
import h5py
import numpy
import pytest

from lib.captioner import Captioner
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import CaptionedImage
from lib.captions.vocabulary import SPECIAL_TOKENS, Vocabulary
from lib.decoding.ensemble import Ensemble
from lib.errors import InputError
from lib.features.feature_source import FeatureSource
from lib.trained_model import TrainedModel
from models import NETWORKS
from models.plain import PlainShowAndTell
from tests.helpers.assertions import assert_same_captions
from tests.helpers.samples import random_features, small_model

SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [103.939, 116.779, 123.68], 'warp')


@pytest.mark.parametrize('n_layers', [1, 2])
@pytest.mark.parametrize('source', [None, SOURCE], ids=['unknown source', 'known source'])
def test_saved_model_loads_unchanged(device, tmp_path, source, n_layers):
    path = tmp_path / 'model.h5'
    model = small_model(source=source, n_layers=n_layers)
    model.network.feature_mean[:] = random_features(1)[0]
    model.network.feature_scale[:] = random_features(1, seed=4)[0]
    model.network.to_device(device)
    model.save(path)
    model.network.to_device(chainer.get_device('@numpy'))
    loaded = TrainedModel.load(path)
    assert loaded.vocabulary == model.vocabulary
    assert loaded.feature_source == source
    assert loaded.path == str(path)
    assert loaded.network.hyperparameters == model.network.hyperparameters
    for param, loaded_param in zip(model.network.params(), loaded.network.params(), strict=True):
        numpy.testing.assert_array_equal(loaded_param.array, param.array)
    for name in 'feature_mean', 'feature_scale':
        numpy.testing.assert_array_equal(
            getattr(loaded.network, name), getattr(model.network, name)
        )


def test_the_tokenizer_is_saved(tmp_path):
    model = small_model()
    model.vocabulary = Vocabulary((*SPECIAL_TOKENS, '犬', 'が', '走', 'る'), 'characters')
    model.save(tmp_path / 'model.h5')
    loaded = TrainedModel.load(tmp_path / 'model.h5')
    assert loaded.vocabulary == model.vocabulary
    assert loaded.vocabulary.decode([3, 4, 5, 6]) == '犬が走る'


def test_loading_a_missing_file_names_it(tmp_path):
    with pytest.raises(InputError, match=r'missing\.h5: no such file'):
        TrainedModel.load(tmp_path / 'missing.h5')


def test_loading_a_damaged_file_names_it(tmp_path):
    path = tmp_path / 'damaged.h5'
    small_model().save(path)
    whole = path.read_bytes()
    for content in b'', b'text', whole[: len(whole) // 2], whole[:-1]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r'damaged\.h5: '):
            TrainedModel.load(path)


@pytest.mark.parametrize('n_layers', [1, 2])
def test_a_model_loads_as_the_plain_network_and_captions_alike(device, tmp_path, n_layers):
    small_model(n_layers=n_layers).save(tmp_path / 'model.h5')
    features = device.send(random_features(5))
    options = {'top': 3, 'max_length': 6}
    fast, plain = (
        Captioner(Ensemble([TrainedModel.load(tmp_path / 'model.h5', network)]))
        for network in (None, 'plain')
    )
    for captioner in fast, plain:
        captioner.ensemble.networks[0].to_device(device)
    for captions, expected in zip(plain(features, **options), fast(features, **options)):
        assert_same_captions(captions, expected)
    plain.ensemble.models[0].save(tmp_path / 'plain.h5')
    assert type(TrainedModel.load(tmp_path / 'plain.h5').network) is PlainShowAndTell


def test_networks_that_are_unknown_or_do_not_fit_are_named(tmp_path, monkeypatch):
    small_model(n_layers=2).save(tmp_path / 'model.h5')
    monkeypatch.setitem(NETWORKS, 'other', chainer.links.Linear)
    with pytest.raises(InputError, match=r'model\.h5: does not have .* network other'):
        TrainedModel.load(tmp_path / 'model.h5', 'other')
    monkeypatch.delitem(NETWORKS, 'show_and_tell')
    with pytest.raises(InputError, match=r'model\.h5: its network "show_and_tell"'):
        TrainedModel.load(tmp_path / 'model.h5')


def test_loading_other_files_names_them(tmp_path):
    images = [CaptionedImage(0, -1, 'a.jpg', 'train', [['a']], ['a'])]
    CaptionDataset.from_images(images, min_count=1).save(tmp_path / 'captions.h5')
    with h5py.File(tmp_path / 'other.h5', 'w') as file:
        file['network'] = 1
    for name in 'captions.h5', 'other.h5':
        with pytest.raises(InputError, match=f'{name}: not a model file'):
            TrainedModel.load(tmp_path / name)


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'model.h5'
    model = small_model()
    model.save(path)
    old = path.read_bytes()
    monkeypatch.setattr(model, 'vocabulary', None)
    with pytest.raises(AttributeError):
        model.save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_check_feature_size_names_file_and_model(tmp_path):
    model = small_model(feature_size=8)
    model.path = 'best.h5'
    model.check_feature_size(8, 'feats.mat')
    with pytest.raises(InputError, match=r'feats\.mat: .* size 9, .*best\.h5 .* size 8'):
        model.check_feature_size(9, 'feats.mat')
