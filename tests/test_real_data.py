"""Real captions, features, photographs and networks; skipped where they are absent."""

import json
import os

from lib.feature_extractor import FeatureExtractor
from lib.features import FeatureSource, load_features
from lib.photographs import read_photograph
from tests.real_data import real
from tests.samples import run_script, write_json

import chainer
import numpy

SQUEEZENET = FeatureSource('squeezenet_v1.0.caffemodel', 'pool10', 227, [104, 117, 123], 'warp')


def squeezenet():
    return FeatureExtractor(real('squeezenet', 'squeezenet_v1.0.caffemodel'), SQUEEZENET,
                            chainer.get_device('@numpy'), batch_size=1)


def test_flickr8k_is_preprocessed(tmp_path):
    process = run_script('preprocess_vocab.py', real('flickr8k', 'dataset.json'), '-o',
                         tmp_path / 'captions.h5')
    assert process.returncode == 0, process.stderr
    rows = [line.split() for line in process.stdout.splitlines()]
    assert ['train', '6,000', '30,000'] in [row[:3] for row in rows]
    assert ['val', '1,000', '5,000'] in [row[:3] for row in rows]
    assert 'vocabulary: 2,537 words' in process.stdout
    assert 'longest caption: 37 words' in process.stdout


def test_squeezenet_gives_the_features_that_come_with_the_captions():
    with open(real('flickr8k', 'dataset.json'), encoding='utf-8') as file:
        imgid = {image['filename']: image['imgid'] for image in json.load(file)['images']}
    expected = load_features(real('flickr8k', 'vgg_feats.mat')).array
    # Photographs of 224 x 224 are exactly what those features were made from.
    paths = [os.path.join(real('flickr8k', 'photos'), name)
             for name in sorted(os.listdir(real('flickr8k', 'photos')))]
    photographs = {path: read_photograph(path) for path in paths}
    paths = [path for path in paths if photographs[path].size == (224, 224)][:4]
    extractor = squeezenet()
    features = extractor([extractor.prepare(photographs[path]) for path in paths])
    columns = [imgid[os.path.basename(path)] for path in paths]
    numpy.testing.assert_allclose(features, expected[columns], atol=1e-3)


def test_vgg_features_of_neuraltalk_are_read():
    features = load_features(real('neuraltalk', 'vgg_feats.mat')).array
    assert features.shape == (16, 4096)
    assert features.min() >= 0


def test_the_program_runs_on_flickr8k(tmp_path):
    """A small part of Flickr8k through all steps; the captions must speak English."""
    with open(real('flickr8k', 'dataset.json'), encoding='utf-8') as file:
        content = json.load(file)
    train = [image for image in content['images'] if image['split'] == 'train'][:600]
    val = [image for image in content['images'] if image['split'] == 'val'][:50]
    write_json(tmp_path / 'dataset.json', {'dataset': 'flickr8k', 'images': train + val})
    photographs = [os.path.join(real('flickr8k', 'photos'), name)
                   for name in sorted(os.listdir(real('flickr8k', 'photos')))[:16]]
    captions, model = tmp_path / 'captions.h5', tmp_path / 'result' / 'best.h5'
    steps = [
        ('preprocess_vocab.py', tmp_path / 'dataset.json', '-o', captions),
        ('train.py', '-s', captions, '-i', real('flickr8k', 'vgg_feats.mat'), '-o',
         tmp_path / 'result', '--hidden', 64, '--embed', 64, '--epoch', 6, '--lr', 0.005,
         '--standardize', '--dropout', 0.2),
        ('generate_caption.py', '-m', model, '-i',
         real('squeezenet', 'squeezenet_v1.0.caffemodel'), *photographs, '--layer', 'pool10',
         '--image-size', 227, '--mean', 104, 117, 123, '--json',
         tmp_path / 'captions.json', '--beam-width', 3, '--top', 1)]
    for step in steps:
        process = run_script(*step)
        assert process.returncode == 0, process.stderr
    log = json.loads((tmp_path / 'result' / 'log').read_text())
    assert log[-1]['validation/main/loss'] < 3.6
    results = json.loads((tmp_path / 'captions.json').read_text())
    assert len(results) == 16
    said = [result['captions'][0]['caption'] for result in results]
    assert len(set(said)) > 2
    assert all({'a', 'the', 'in', 'is', 'two', 'man', 'dog'} & set(text.split()) for text in said)
