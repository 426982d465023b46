"""Small data sets, images and models."""

import json

import numpy
from PIL import Image

from lib.captions.vocabulary import BOS, SPECIAL_TOKENS, Vocabulary
from lib.features.writer import save_features
from lib.trained_model import TrainedModel
from models.show_and_tell import ShowAndTell

SUBJECTS, VERBS, PLACES = ('dog', 'cat', 'man'), ('runs', 'sleeps', 'eats'), ('home', 'outside')


def dataset(n_images=30, splits=('train', 'train', 'train', 'val', 'test'), seed=0):
    """Returns the content of a dataset.json whose captions say what the images show."""
    rng = numpy.random.RandomState(seed)
    images = []
    for imgid in range(n_images):
        subject, verb, place = (
            words[rng.randint(len(words))] for words in (SUBJECTS, VERBS, PLACES)
        )
        captions = [
            ['a', subject, verb],
            ['a', subject, verb, place],
            ['the', subject, verb, 'at', place],
            [subject],
            ['there', 'is', 'a', subject],
        ]
        sentids = list(range(5 * imgid, 5 * imgid + 5))
        sentences = [
            {'tokens': tokens, 'raw': ' '.join(tokens) + ' .', 'imgid': imgid, 'sentid': sentid}
            for tokens, sentid in zip(captions, sentids)
        ]
        images.append(
            {
                'imgid': imgid,
                'split': splits[imgid % len(splits)],
                'filename': f'{imgid}.jpg',
                'sentids': sentids,
                'sentences': sentences,
            }
        )
    return {'dataset': 'sample', 'images': images}


def features_of(content, size=8, seed=0):
    """Returns features (N, D) from which the captions of :func:`dataset` can be learned."""
    rng = numpy.random.RandomState(seed)
    vector_of = {word: rng.rand(size) for word in SUBJECTS + VERBS + PLACES}
    features = [
        sum(vector_of.get(word, 0) for word in image['sentences'][2]['tokens'])
        for image in content['images']
    ]
    return numpy.stack(features).astype('float32')


def random_features(n, size=8, seed=3):
    """Returns features (n, size), float32, for :func:`small_model`."""
    return numpy.random.RandomState(seed).randn(n, size).astype('float32')


def small_model(
    feature_size=8,
    words=('a', 'dog', 'cat', 'runs'),
    seed=0,
    source=None,
    hidden_size=7,
    n_layers=1,
):
    """Returns a model with random weights that clearly prefers some tokens."""
    numpy.random.seed(seed)
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *words))
    network = ShowAndTell(
        feature_size, len(vocabulary), embed_size=6, hidden_size=hidden_size, n_layers=n_layers
    )
    for param in network.params():
        param.array[...] += numpy.random.randn(*param.shape)
    network.output.b.array[BOS] = -20  # as of a trained network, which never predicts it
    return TrainedModel(network, vocabulary, source)


def write_json(path, content):
    path.write_text(json.dumps(content), encoding='utf-8')
    return path


def write_matlab(path, features):
    """Writes features of the images of :func:`dataset`, with their names."""
    save_features(path, features, names=[f'{n}.jpg' for n in range(len(features))])
    return path


def write_image(path, seed=0, size=(60, 40), mode='RGB', **options):
    pixels = numpy.random.RandomState(seed).randint(0, 256, (4, 6, 3)).astype('uint8')
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    image.convert(mode).save(path, **options)
    return path
