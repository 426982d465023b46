"""The flags of the scripts: ``--help``, and names that were used before version 1.0."""

import glob
import importlib
import os
import re

import pytest

from tests.helpers.scripts import ROOT, run_script

SCRIPTS = sorted(os.path.basename(path) for path in glob.glob(os.path.join(ROOT, '*.py')))

# The smallest command line that each script accepts.
REQUIRED = {
    'preprocess_vocab.py': 'dataset.json',
    'extract_features.py': '-i net.caffemodel --dataset dataset.json --image-root images -o f.mat',
    'train.py': '',
    'generate_caption.py': '-m best.h5 -i net.caffemodel dog.jpg',
    'evaluate.py': '-m best.h5',
    'serve.py': '-m best.h5 -i net.caffemodel',
    'index_captions.py': '',
}

# Flag, value and the flags that are the same: the short one, and names from before version 1.0.
GPU = ('--gpu', '0', ['-g'])
CAPTIONS = ('--captions', 'c.h5', ['-s', '--sentence'])
FEATURES = ('--features', 'f.mat', ['-i', '--image'])
CNN = ('--cnn', 'other.caffemodel', ['-i', '--image'])
OUTPUT = ('--output', 'other', ['-o'])
MODEL = ('--model', 'other.h5', ['-m'])
ALIASES = {
    'preprocess_vocab.py': [
        OUTPUT,
        ('--tokenizer', 'characters', ['--tokens']),
        ('--val-size', '7', ['--hold-out']),
    ],
    'extract_features.py': [GPU, CNN, OUTPUT],
    'train.py': [
        GPU,
        CAPTIONS,
        FEATURES,
        OUTPUT,
        MODEL,
        ('--loss-reduction', 'sentence', ['--loss']),
        ('--warmup-iterations', '7', ['--warm-up']),
        ('--select-by', 'CIDEr', ['--best-by']),
    ],
    'generate_caption.py': [GPU, MODEL, CNN, ('--list', 'l.txt', ['-l'])],
    'serve.py': [GPU, MODEL, CNN],
    'index_captions.py': [CAPTIONS, FEATURES, OUTPUT],
    'evaluate.py': [
        GPU,
        MODEL,
        CAPTIONS,
        FEATURES,
        ('--average-weights', 'mean.h5', ['--average']),
    ],
}


def parse(monkeypatch, script, *arguments):
    """Returns what a script's ``parse_args`` makes of some arguments."""
    monkeypatch.setattr('sys.argv', [script, *arguments])
    return importlib.import_module(script.removesuffix('.py')).parse_args()


@pytest.mark.parametrize('script', SCRIPTS)
def test_help_exits_with_0_and_shows_defaults_where_there_are_any(monkeypatch, script):
    monkeypatch.setenv('COLUMNS', '1000')  # so that no line is wrapped
    process = run_script(script, '--help', forked=False)
    assert process.returncode == 0
    assert process.stderr == ''
    assert process.stdout.startswith(f'usage: {script} ')
    for wrong in '(default: None)', '(default: [])', '[]', 'default: False':
        assert wrong not in process.stdout
    assert re.search(r'\(default: [^)]+\)', process.stdout)


@pytest.mark.parametrize(
    'script, flag, value, alias',
    [
        (script, flag, value, alias)
        for script, flags in ALIASES.items()
        for flag, value, aliases in flags
        for alias in aliases
    ],
)
def test_aliases_are_accepted(monkeypatch, script, flag, value, alias):
    required = REQUIRED[script].split()
    expected = parse(monkeypatch, script, *required, flag, value)
    assert parse(monkeypatch, script, *required, alias, value) == expected
    assert parse(monkeypatch, script, *required) != expected


def test_all_scripts_are_covered():
    assert sorted(REQUIRED) == sorted(ALIASES) == SCRIPTS
