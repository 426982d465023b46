"""The demo's steps on a few scenes; the demo itself measures how well they learn."""

import json
import random

from data.draw_scenes import (
    COLOURS,
    SHAPES,
    SIDE,
    Thing,
    describe,
    draw_scene,
    invent_scene,
    place,
    relation,
)
from data.score_scenes import names_all
from lib.datasets import read_datasets
from tests.samples import run_script

import numpy
import pytest
from PIL import Image


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scenes')
    process = run_script('data.draw_scenes', folder, '--train', 40, '--val', 6, '--test', 4)
    assert process.returncode == 0, process.stderr
    return folder


@pytest.mark.parametrize('seed', range(50))
def test_captions_are_different_and_true(seed):
    rng = random.Random(seed)
    things = invent_scene(rng)
    captions = describe(rng, things)
    assert len(set(captions)) == 5
    for caption in captions:
        words = caption.split()
        assert names_all(caption, [thing._asdict() for thing in things])
        for size in {'small', 'large'} & set(words):
            assert size in {thing.size for thing in things}


def test_relations_and_places_are_seen_from_the_viewer():
    left, right = (Thing('red', 'circle', 'small', x, 48, 9) for x in (24, 72))
    top = Thing('red', 'circle', 'small', 24, 24, 9)
    assert relation(left, right) == 'to the left of'
    assert relation(right, left) == 'to the right of'
    assert relation(top, left) == 'above'
    assert relation(left, top) == 'below'
    assert [place(thing) for thing in (left, right, top)] == [
        'on the left', 'on the right', 'at the top left']


@pytest.mark.parametrize('colour', COLOURS)
@pytest.mark.parametrize('shape', SHAPES)
def test_things_are_drawn_where_and_in_the_colour_they_say(shape, colour):
    thing = Thing(colour, shape, 'large', 30, 60, 16)
    pixels = numpy.asarray(draw_scene(random.Random(0), [thing])).astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert abs(pixels[60, 30] - COLOURS[colour]).max() < 50
    assert pixels[20, 80].min() > 170


def test_scoring_wants_every_thing_in_its_colour():
    things = [{'colour': 'red', 'shape': 'circle'}, {'colour': 'blue', 'shape': 'star'}]
    assert names_all('a small red circle above a blue star', things)
    assert names_all('a blue star and a red circle', things)
    assert not names_all('a blue circle and a red star', things)
    assert not names_all('a red circle', things)
    assert not names_all('a red circle and a blue star and a blue star', things)


def test_writes_karpathys_format(scenes):
    images = read_datasets([str(scenes / 'dataset.json')])
    assert [image.split for image in images] == ['train'] * 40 + ['val'] * 6 + ['test'] * 4
    for image in images:
        assert Image.open(scenes / image.filename).size == (SIDE, SIDE)
        assert len(image.captions) == 5


def test_the_seed_decides(scenes, tmp_path):
    run_script('data.draw_scenes', tmp_path, '--train', 40, '--val', 6, '--test', 4)
    assert (tmp_path / 'dataset.json').read_text() == (scenes / 'dataset.json').read_text()
    for picture in (tmp_path / 'train').iterdir():
        assert picture.read_bytes() == (scenes / 'train' / picture.name).read_bytes()


def test_the_steps_of_the_demo_fit_together(scenes, tmp_path):
    def step(*command):
        process = run_script(*command)
        assert process.returncode == 0, process.stderr
        return process.stdout
    step('data.train_cnn', scenes, '-o', tmp_path / 'scenes.caffemodel', '--epoch', 1)
    step('extract_features.py', '-i', tmp_path / 'scenes.caffemodel', '--dataset',
         scenes / 'dataset.json', '--image-root', scenes, '-o', tmp_path / 'features.mat',
         '--layer', 'prob', '--image-size', 96, '--mean', 220, 220, 220)
    step('preprocess_vocab.py', scenes / 'dataset.json', '-o', tmp_path / 'captions.h5')
    step('train.py', '-s', tmp_path / 'captions.h5', '-i', tmp_path / 'features.mat', '-o',
         tmp_path / 'result', '--hidden', 8, '--embed', 8, '--epoch', 1)
    # The layer and the preparation of the pictures come from the model.
    step('generate_caption.py', '-m', tmp_path / 'result' / 'best.h5', '-i',
         tmp_path / 'scenes.caffemodel', '--top', 1, '--json', tmp_path / 'captions.json',
         scenes / 'test')
    output = step('data.score_scenes', scenes, tmp_path / 'captions.json')
    assert 'of 4 (' in output.splitlines()[-1]
    assert output.count('\n') == 9
    assert len(json.loads((tmp_path / 'captions.json').read_text())) == 4
    step('data.contact_sheet', tmp_path / 'captions.json', '-o', tmp_path / 'sheet.png')
    with Image.open(tmp_path / 'sheet.png') as sheet:
        assert sheet.width > 1000
        pixels = numpy.asarray(sheet.convert('RGB')).astype(int)
        assert numpy.ptp(pixels, axis=2).max() > 100    # black text alone has no colours
