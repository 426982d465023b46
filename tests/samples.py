"""Small data sets, models and networks that the tests write to disk and read back."""

import json
import os
import subprocess
import sys

from lib.trained_model import TrainedModel
from lib.vocabulary import SPECIAL_WORDS, Vocabulary
from models.show_and_tell import ShowAndTell

import numpy
import scipy.io
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUBJECTS, VERBS, PLACES = ('dog', 'cat', 'man'), ('runs', 'sleeps', 'eats'), ('home', 'outside')


def run_script(script, *arguments, cwd=None):
    """Runs a script, or a module of data/, as a user would.

    Returns:
        subprocess.CompletedProcess: The finished process with its output as text.
    """
    script = [os.path.join(ROOT, script)] if script.endswith('.py') else ['-m', script]
    return subprocess.run([sys.executable, *script, *map(str, arguments)], capture_output=True,
                          text=True, cwd=cwd or ROOT, timeout=300)


def assert_input_error(process, *parts):
    """Checks for exit code 2 and one line on standard error that holds all ``parts``."""
    assert process.returncode == 2, process.stderr
    assert process.stderr.startswith('error: ')
    assert process.stderr.count('\n') == 1
    for part in parts:
        assert str(part) in process.stderr


def dataset(n_images=30, splits=('train', 'train', 'train', 'val', 'test'), seed=0):
    """Returns the content of a dataset.json whose captions tell what images show."""
    rng = numpy.random.RandomState(seed)
    images = []
    for imgid in range(n_images):
        subject, verb, place = (words[rng.randint(len(words))]
                                for words in (SUBJECTS, VERBS, PLACES))
        captions = [['a', subject, verb], ['a', subject, verb, place],
                    ['the', subject, verb, 'at', place], [subject], ['there', 'is', 'a', subject]]
        images.append({
            'imgid': imgid, 'split': splits[imgid % len(splits)], 'filename': f'{imgid}.jpg',
            'sentids': list(range(5 * imgid, 5 * imgid + 5)),
            'sentences': [{'tokens': tokens, 'raw': ' '.join(tokens) + ' .', 'imgid': imgid,
                           'sentid': 5 * imgid + k} for k, tokens in enumerate(captions)]})
    return {'dataset': 'sample', 'images': images}


def write_json(path, content):
    path.write_text(json.dumps(content), encoding='utf-8')
    return path


def features_of(content, size=8, seed=0):
    """Returns features (N, D) from which the captions of :func:`dataset` can be learnt."""
    rng = numpy.random.RandomState(seed)
    meanings = {word: rng.rand(size) for word in SUBJECTS + VERBS + PLACES}
    return numpy.stack([
        sum(meanings.get(word, 0) for word in image['sentences'][2]['tokens'])
        for image in content['images']]).astype('float32')


def write_matlab(path, features):
    scipy.io.savemat(path, {'feats': features.T})
    return path


def write_photograph(path, seed=0, size=(60, 40), mode='RGB', **options):
    pixels = numpy.random.RandomState(seed).randint(0, 256, (4, 6, 3)).astype('uint8')
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    image.convert(mode).save(path, **options)
    return path


def small_model(feature_size=8, words=('a', 'dog', 'cat', 'runs'), seed=0, source=None,
                hidden_size=7, n_layers=1):
    """Returns a trained model with random weights that prefers some words clearly."""
    numpy.random.seed(seed)
    vocabulary = Vocabulary((*SPECIAL_WORDS, *words))
    network = ShowAndTell(feature_size, len(vocabulary), embed_size=6, hidden_size=hidden_size,
                          n_layers=n_layers)
    for param in network.params():
        param.array[...] += numpy.random.randn(*param.shape)
    return TrainedModel(network, vocabulary, source)
