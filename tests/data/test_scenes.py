"""The demo's steps on a few scenes; the demo itself shows how well they learn."""

import json
import random

import numpy
import pytest
from PIL import Image

from data.draw_scenes import (
    COLORS,
    IMAGE_SIZE,
    SHAPES,
    Shape,
    draw_scene,
    invent_scene,
    position,
    relation,
    write_captions,
)
from data.score_scenes import names_shapes
from lib.captions.annotations import read_dataset
from tests.helpers.scripts import run_script


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scenes')
    process = run_script('data.draw_scenes', folder, '--train', 40, '--val', 6, '--test', 4)
    assert process.returncode == 0, process.stderr
    return folder


@pytest.mark.parametrize('seed', range(50))
def test_captions_are_distinct_and_true(seed):
    rng = random.Random(seed)
    shapes = invent_scene(rng)
    captions = write_captions(rng, shapes)
    assert len(set(captions)) == 5
    for caption in captions:
        assert names_shapes(caption, [shape._asdict() for shape in shapes])
        for size in {'small', 'large'} & set(caption.split()):
            assert size in {shape.size for shape in shapes}


def test_relations_and_positions_are_those_of_the_viewer():
    left, right = (Shape('red', 'circle', 'small', x, 48, 9) for x in (24, 72))
    top = Shape('red', 'circle', 'small', 24, 24, 9)
    assert relation(left, right) == 'to the left of'
    assert relation(right, left) == 'to the right of'
    assert relation(top, left) == 'above'
    assert relation(left, top) == 'below'
    assert position(left) == 'on the left'
    assert position(right) == 'on the right'
    assert position(top) == 'at the top left'


@pytest.mark.parametrize('color', COLORS)
@pytest.mark.parametrize('kind', SHAPES)
def test_shapes_are_drawn_at_their_position_in_their_color(kind, color):
    shape = Shape(color, kind, 'large', 30, 60, 16)
    pixels = numpy.asarray(draw_scene(random.Random(0), [shape])).astype(int)
    assert pixels.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert abs(pixels[60, 30] - COLORS[color]).max() < 50
    assert pixels[20, 80].min() > 170


def test_a_right_caption_names_every_shape_in_its_color():
    shapes = [{'color': 'red', 'kind': 'circle'}, {'color': 'blue', 'kind': 'star'}]
    assert names_shapes('a small red circle above a blue star', shapes)
    assert names_shapes('a blue star and a red circle', shapes)
    assert not names_shapes('a blue circle and a red star', shapes)
    assert not names_shapes('a red circle', shapes)
    assert not names_shapes('a red circle and a blue star and a blue star', shapes)


def test_scenes_are_written_in_karpathys_format(scenes):
    images = read_dataset([str(scenes / 'dataset.json')])
    assert [image.split for image in images] == ['train'] * 40 + ['val'] * 6 + ['test'] * 4
    for image in images:
        assert Image.open(scenes / image.filename).size == (IMAGE_SIZE, IMAGE_SIZE)
        assert len(image.tokens) == 5


def test_the_same_seed_draws_the_same_scenes(scenes, tmp_path):
    run_script('data.draw_scenes', tmp_path, '--train', 40, '--val', 6, '--test', 4)
    assert (tmp_path / 'dataset.json').read_text() == (scenes / 'dataset.json').read_text()
    for image in (tmp_path / 'train').iterdir():
        assert image.read_bytes() == (scenes / 'train' / image.name).read_bytes()


def test_the_steps_of_the_demo_fit_together(scenes, tmp_path):
    def step(*command):
        process = run_script(*command)
        assert process.returncode == 0, process.stderr
        return process.stdout

    cnn, captions, features = (
        tmp_path / name for name in ('scenes.caffemodel', 'captions.h5', 'features.mat')
    )
    step('data.train_cnn', scenes, '-o', cnn, '--epoch', 1)
    preparation = '--layer', 'prob', '--image-size', 96, '--mean', 220, 220, 220
    dataset = '--dataset', scenes / 'dataset.json', '--image-root', scenes
    step('extract_features.py', '-i', cnn, *dataset, '-o', features, *preparation)
    step('preprocess_vocab.py', scenes / 'dataset.json', '-o', captions)
    sizes = '--hidden', 8, '--embed', 8, '--epoch', 1
    step('train.py', '-s', captions, '-i', features, '-o', tmp_path / 'result', *sizes)
    # The layer and the preparation of the images come from the model.
    results = tmp_path / 'captions.json'
    model = tmp_path / 'result' / 'best.h5'
    step(
        'generate_caption.py',
        '-m',
        model,
        '-i',
        cnn,
        '--top',
        1,
        '--json',
        results,
        scenes / 'test',
    )
    output = step('data.score_scenes', scenes, results)
    assert 'of 4 (' in output.splitlines()[-1]
    assert output.count('\n') == 9
    assert len(json.loads(results.read_text())) == 4
    step('data.contact_sheet', results, '-o', tmp_path / 'sheet.png')
    with Image.open(tmp_path / 'sheet.png') as sheet:
        assert sheet.width > 1000
        pixels = numpy.asarray(sheet.convert('RGB')).astype(int)
        assert numpy.ptp(pixels, axis=2).max() > 100  # black text alone has no colors
