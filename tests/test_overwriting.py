"""No script overwrites what it reads, or one of its outputs by another."""

import pytest

from tests.fuzz.cases import TRAINING, contents_of, make_folder
from tests.helpers.assertions import assert_input_error
from tests.helpers.scripts import run_script

EVALUATE = 'evaluate.py -m model.h5 -s captions.h5 -i feats.mat --beam-width 2'
GENERATE = 'generate_caption.py 0.jpg -l images.txt -m model.h5 -i net.caffemodel'
EXTRACT = 'extract_features.py -i net.caffemodel --dataset dataset.json --image-root .'
TRAIN = TRAINING.format(epoch=1).replace('out/result', 'run').replace('--hidden 6 --embed 5', '')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('inputs')
    make_folder(folder)
    return folder


@pytest.mark.parametrize(
    'command, message',
    [
        ('preprocess_vocab.py train=list.tsv -o ./out/../list.tsv', 'is also an input'),
        ('index_captions.py -s captions.h5 -i feats.mat -o feats.mat', 'is also an input'),
        (f'{EVALUATE} --json model.h5', 'model.h5: is also an input'),
        (f'{EVALUATE} --html 3.jpg --image-root .', '3.jpg: is also an input'),
        (f'{EVALUATE} --json out/x.json --html out/x_scores.json', 'path of two outputs'),
        (f'{EVALUATE} 2 --json out/x.json', 'x_beam2.json: is the path of two outputs'),
        (f'{GENERATE} --html 0.jpg', '0.jpg: is also an input'),
        (f'{GENERATE} --html 1.jpg', '1.jpg: is also an input'),
        (f'{GENERATE} --json images.txt', 'images.txt: is also an input'),
        (f'{GENERATE} --json net.caffemodel', 'net.caffemodel: is also an input'),
        (f'{EXTRACT} -o net.caffemodel', 'net.caffemodel: is also an input'),
        (f'{EXTRACT} -o 2.jpg', '2.jpg: is also an input'),
    ],
)
def test_inputs_and_outputs_are_kept_apart(folder, command, message):
    before = contents_of(folder)
    assert_input_error(run_script(*command.split(), cwd=folder), message)
    assert contents_of(folder) == before


def test_inputs_may_be_beside_outputs(folder):
    """Only files that would be replaced are refused."""
    evaluate = f'{EVALUATE} --json model.json --html model.html'
    train = f'{TRAIN.replace("run", ".")} -i feats.mat -m model.h5'
    for command in evaluate, train:
        process = run_script(*command.split(), cwd=folder)
        assert process.returncode == 0, process.stderr
