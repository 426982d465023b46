"""``--help`` of the scripts, each really started; and the flags that people type by heart."""

import re

import pytest

from tests.helpers.scripts import run_script

CAPTIONS, FEATURES = '-s, --captions, --sentence FILE', '-i, --features, --image FILE'
CNN = '-i, --cnn, --image FILE'
MODELS = '-m, --model FILE'
# As --help shows them. The short ones are the reference program's, as are --sentence and --image.
FLAGS = {
    'preprocess_vocab.py': ['-o, --output FILE', '--min-count N', '--train-splits'],
    'extract_features.py': ['-g, --gpu N', CNN, '-o, --output FILE', '--mean C1 C2 C3'],
    'train.py': [
        '-g, --gpu N', CAPTIONS, FEATURES, '-m, --model FILE', '-o, --output FOLDER', '--resume',
        '--network', '--epoch N', '--batch-size N', '--hidden N', '--embed N', '--layers N',
        '--dropout', '--optimizer', '--lr', '--lr-schedule', '--standardize', '--seed N',
    ],
    'generate_caption.py': [
        '-g, --gpu N', MODELS, CNN, '-l, --list FILE', '--beam-width M', '--top N',
        '--max-length N', '--search', '--index FILE', '--json FILE', '--html FILE',
    ],
    'evaluate.py': ['-g, --gpu N', MODELS, CAPTIONS, FEATURES, '--split', '--beam-width M'],
    'serve.py': ['-g, --gpu N', MODELS, CNN, '--port N'],
    'index_captions.py': [CAPTIONS, FEATURES, '-o, --output FILE'],
}  # fmt: skip


@pytest.mark.parametrize('script', FLAGS)
def test_help_shows_flags_and_defaults_where_there_are_any(monkeypatch, script):
    monkeypatch.setenv('COLUMNS', '1000')  # so that no line is wrapped
    process = run_script(script, '--help', forked=False)
    assert process.returncode == 0
    assert process.stderr == ''
    assert process.stdout.startswith(f'usage: {script} ')
    for wrong in '(default: None)', '(default: [])', '[]', 'default: False':
        assert wrong not in process.stdout
    assert re.search(r'\(default: [^)]+\)', process.stdout)
    for flag in FLAGS[script]:
        assert re.search(rf'^  {flag}( |,|$)', process.stdout, re.MULTILINE), flag
