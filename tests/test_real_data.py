"""Runs on real captions, features, images and networks; skipped where they are absent."""

import json
import os

import chainer
import numpy

from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import FeatureSource
from lib.features.formats import read_features
from lib.features.images import read_image
from tests.helpers.real_data import real
from tests.helpers.samples import write_json
from tests.helpers.scripts import run_script

SQUEEZENET = FeatureSource('squeezenet_v1.0.caffemodel', 'pool10', 227, [104, 117, 123], 'warp')


def image_paths():
    """Returns the paths of some images of Flickr8k, in alphabetical order."""
    folder = real('flickr8k', 'photos')
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


def test_preprocesses_flickr8k(tmp_path):
    dataset = real('flickr8k', 'dataset.json')
    process = run_script('preprocess_vocab.py', dataset, '-o', tmp_path / 'captions.h5')
    assert process.returncode == 0, process.stderr
    rows = {row[0]: row[1:] for row in map(str.split, process.stdout.splitlines())}
    assert rows['train'][:2] == ['6,000', '30,000']
    assert rows['val'][:2] == ['1,000', '5,000']
    assert rows['vocabulary:'][:2] == ['2,537', 'tokens,']
    assert rows['split'][-1] == 'longest'
    assert max(int(rows[split][-1]) for split in ('train', 'val')) == 37


def test_extracts_the_squeezenet_features_of_flickr8k():
    with open(real('flickr8k', 'dataset.json'), encoding='utf-8') as file:
        imgid_of = {image['filename']: image['imgid'] for image in json.load(file)['images']}
    expected = read_features(real('flickr8k', 'vgg_feats.mat')).rows
    path = real('squeezenet', 'squeezenet_v1.0.caffemodel')
    extractor = FeatureExtractor.load(path, chainer.get_device('@numpy'), SQUEEZENET)
    # Only images of 224 x 224 pixels are exactly those that the features were extracted from.
    paths = [path for path in image_paths() if read_image(path).size == (224, 224)][:4]
    ((indices, features),) = extractor.extract(paths, chunk_size=len(paths))
    assert indices == list(range(len(paths)))
    rows = [imgid_of[os.path.basename(path)] for path in paths]
    numpy.testing.assert_allclose(features, expected[rows], atol=1e-3)


def test_reads_vgg_features_of_neuraltalk():
    features = read_features(real('neuraltalk', 'vgg_feats.mat')).rows
    assert features.shape == (16, 4096)
    assert features.min() >= 0


def test_all_steps_on_part_of_flickr8k_give_english_captions(tmp_path):
    with open(real('flickr8k', 'dataset.json'), encoding='utf-8') as file:
        content = json.load(file)
    train = [image for image in content['images'] if image['split'] == 'train'][:600]
    val = [image for image in content['images'] if image['split'] == 'val'][:50]
    dataset = tmp_path / 'dataset.json'
    write_json(dataset, {'dataset': 'flickr8k', 'images': train + val})
    features = real('flickr8k', 'vgg_feats.mat')
    caffemodel = real('squeezenet', 'squeezenet_v1.0.caffemodel')
    captions, results = tmp_path / 'captions.h5', tmp_path / 'captions.json'
    output = tmp_path / 'result'

    training = '--hidden 64 --embed 64 --epoch 6 --lr 0.005 --standardize --dropout 0.2'
    extraction = '--layer pool10 --image-size 227 --mean 104 117 123'
    decoding = '--beam-width 3 --top 1'
    for script, *arguments in (
        ('preprocess_vocab.py', dataset, '-o', captions),
        ('train.py', '-s', captions, '-i', features, '-o', output, *training.split()),
        (
            'generate_caption.py',
            *('-m', output / 'best.h5', '-i', caffemodel, *image_paths()[:16], '--json', results),
            *f'{extraction} {decoding}'.split(),
        ),
    ):
        process = run_script(script, *arguments)
        assert process.returncode == 0, process.stderr
    log = json.loads((output / 'log').read_text())
    assert log[-1]['validation/main/loss'] < 3.6
    texts = [result['captions'][0]['caption'] for result in json.loads(results.read_text())]
    assert len(texts) == 16
    assert len(set(texts)) > 2
    common = {'a', 'the', 'in', 'is', 'two', 'man', 'dog'}
    assert all(common & set(text.split()) for text in texts)
