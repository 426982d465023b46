"""Files that were written before version 1.0 can still be used; see fixtures/README.md."""

import json
import math
import os
import shutil

import numpy
import pytest

from lib.captioner import Captioner
from lib.captions.captioned_image import SPLITS
from lib.captions.dataset import CaptionDataset
from lib.decoding.ensemble import Ensemble
from lib.features.feature_file import load_features
from lib.features.feature_source import FeatureSource
from lib.trained_model import TrainedModel
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import dataset, features_of
from tests.helpers.scripts import ROOT, run_script

FOLDER = os.path.join(ROOT, 'tests', 'fixtures')
CAPTIONS = os.path.join(FOLDER, 'captions.h5')
FEATURES = os.path.join(FOLDER, 'features.mat')
MODEL = os.path.join(FOLDER, 'model_epoch_4.h5')
SNAPSHOT = os.path.join(FOLDER, 'snapshot_epoch_2.h5')

CONTENT = dataset(n_images=15)
SOURCE = FeatureSource('net.caffemodel', 'fc7', 224, [1.0, 2.0, 3.0], 'warp')

UNCHANGED_FLAGS = (
    '--hidden 6 --embed 5 --batch-size 4 --lr 0.03 --dropout 0.1 --scheduled-sampling 0.5 '
    '--epoch 4 --standardize --patience 3 --lr-schedule step'
)
RENAMED_FLAGS = {
    'new names': [
        *('--captions', CAPTIONS, '--features', FEATURES, '--select-by', 'CIDEr'),
        *('--loss-reduction', 'sentence', '--warmup-iterations', 3),
    ],
    'old names': [
        *('--sentence', CAPTIONS, '--image', FEATURES, '--best-by', 'CIDEr'),
        *('--loss', 'sentence', '--warm-up', 3),
    ],
}


def test_captions():
    captions = CaptionDataset.load(CAPTIONS)
    sentences = [sentence for image in CONTENT['images'] for sentence in image['sentences']]
    assert captions.vocabulary.tokens[:3] == ('<S>', '</S>', '<UNK>')
    assert captions.vocabulary.tokenizer == 'words'
    assert captions.imgid.tolist() == [image['imgid'] for image in CONTENT['images']]
    assert captions.cocoid.tolist() == [-1] * 15
    assert captions.filename.tolist() == [image['filename'] for image in CONTENT['images']]
    assert [SPLITS[split] for split in captions.split] == [
        image['split'] for image in CONTENT['images']
    ]
    assert captions.image.tolist() == [sentence['imgid'] for sentence in sentences]
    assert captions.raw.tolist() == [sentence['raw'] for sentence in sentences]
    assert [captions.vocabulary.decode(captions.tokens_of(index)) for index in range(75)] == [
        ' '.join(sentence['tokens']) for sentence in sentences
    ]


def test_features():
    features = load_features(FEATURES)
    numpy.testing.assert_allclose(features.array, features_of(CONTENT, size=4), rtol=1e-6)
    assert features.array.dtype == 'float32'
    assert features.source == SOURCE


def test_model_decodes_captions():
    model = TrainedModel.load(MODEL)
    assert model.vocabulary == CaptionDataset.load(CAPTIONS).vocabulary
    assert model.feature_source == SOURCE
    assert model.network.hyperparameters == {
        'feature_size': 4,
        'vocabulary_size': 16,
        'embed_size': 5,
        'hidden_size': 6,
        'dropout': 0.1,
        'n_layers': 1,
    }
    features = load_features(FEATURES).array
    for captions in Captioner(Ensemble([model]))(features, beam_width=4, top=2):
        assert len(captions) == 2
        for caption in captions:
            assert set(caption.text.split()) <= set(model.vocabulary.tokens)
            assert math.isfinite(caption.log_prob)
        assert captions[0].text


@pytest.mark.parametrize('flags', RENAMED_FLAGS.values(), ids=RENAMED_FLAGS)
def test_training_resumes(tmp_path, flags):
    shutil.copy(SNAPSHOT, tmp_path / 'snapshot.h5')
    process = run_script('train.py', '--resume', '-o', tmp_path, *UNCHANGED_FLAGS.split(), *flags)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ''
    log = json.loads((tmp_path / 'log').read_text())
    assert [entry['epoch'] for entry in log] == [1, 2, 3, 4]
    params, expected = (
        dict(TrainedModel.load(path).network.namedparams())
        for path in (tmp_path / 'epoch_004.h5', MODEL)
    )
    assert params.keys() == expected.keys()
    for name, param in params.items():
        numpy.testing.assert_allclose(param.array, expected[name].array, atol=1e-4, err_msg=name)


def test_training_resumes_without_what_was_added_later(tmp_path):
    shutil.copy(SNAPSHOT, tmp_path / 'snapshot.h5')
    flags = *UNCHANGED_FLAGS.split(), *RENAMED_FLAGS['new names'], '--reward', 'CIDEr'
    process = run_script('train.py', '--resume', '-o', tmp_path, *flags)
    assert_input_error(process, '--reward CIDEr: ', 'snapshot.h5 was written with None')
