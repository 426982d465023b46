import json
import os
import shutil
import subprocess
import sys

import chainer
import numpy
import pytest
from chainer.links.caffe import CaffeFunction

from lib.decoding.beam_search import beam_search
from lib.features.feature_source import FeatureSource
from lib.features.images import prepare_image, read_image
from tests.helpers import caffemodels
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import small_model, write_image
from tests.helpers.scripts import ROOT, run_script

SOURCE = FeatureSource('vgg19.caffemodel', 'fc7', 224, [103.939, 116.779, 123.68], 'warp')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with a caffemodel, trained models and a folder of images."""
    folder = tmp_path_factory.mktemp('captions')
    caffemodels.write_vgg19(folder / 'vgg19.caffemodel')
    small_model(feature_size=12, source=SOURCE).save(folder / 'model.h5')
    small_model(feature_size=12).save(folder / 'sourceless.h5')
    small_model(feature_size=13, source=SOURCE).save(folder / 'other.h5')
    (folder / 'images').mkdir()
    for number in range(3):
        write_image(folder / 'images' / f'{number}.jpg', seed=number)
    return folder


def generate(folder, *arguments, models=('model.h5',), cnn='vgg19.caffemodel'):
    models = [folder / model for model in models]
    return run_script('generate_caption.py', '-m', *models, '-i', folder / cnn, *arguments)


def test_prints_and_writes_captions_of_a_folder(folder, tmp_path):
    process = generate(folder, folder / 'images', '--json', tmp_path / 'captions.json')
    assert process.returncode == 0
    assert process.stderr == ''
    lines = process.stdout.splitlines()
    assert lines[::6] == [f'# {folder}/images/{number}.jpg' for number in range(3)]
    results = json.loads((tmp_path / 'captions.json').read_text())
    assert len(lines) == 18
    for number, result in enumerate(results):
        assert result['image'] == f'{folder}/images/{number}.jpg'
        texts = [caption['caption'] for caption in result['captions']]
        assert texts == lines[6 * number + 1 : 6 * number + 6]


def test_captions_equal_those_of_separate_steps(folder, tmp_path):
    flags = ['--top', '3', '--beam-width', '4', '--max-length', '6', '--batch-size', '2']
    output = tmp_path / 'captions.json'
    generate(folder, folder / 'images', '--json', output, *flags)
    results = json.loads(output.read_text())
    model = small_model(feature_size=12)
    network = CaffeFunction(str(folder / 'vgg19.caffemodel'))
    for result in results:
        pixels = prepare_image(read_image(result['image']), 224, SOURCE.mean)[None]
        with chainer.using_config('train', False):
            (features,) = network(inputs={'data': pixels}, outputs=['fc7'])
        (expected,) = beam_search(model.network, features.array, 4, 3, 6)
        assert [caption['caption'] for caption in result['captions']] == [
            model.vocabulary.decode(caption.tokens) for caption in expected
        ]
        numpy.testing.assert_allclose(
            [caption['log_prob'] for caption in result['captions']],
            [caption.log_prob for caption in expected],
            atol=1e-3,
        )


def test_takes_files_and_lists_of_any_length(folder, tmp_path):
    image = folder / 'images' / '1.jpg'
    (tmp_path / 'list.txt').write_text(f'{image}\n' * 40)
    process = generate(folder, image, '-l', tmp_path / 'list.txt', '--top', 1)
    assert process.returncode == 0
    lines = process.stdout.splitlines()
    assert lines[0::2] == [f'# {image}'] * 41
    assert len(set(lines[1::2])) == 1


def test_takes_a_list_from_standard_input(folder):
    command = [sys.executable, 'generate_caption.py', '-l', '-', '-m', folder / 'model.h5']
    process = subprocess.run(
        [*command, '-i', folder / 'vgg19.caffemodel', '--top', '1'],
        input=f'{folder}/images/1.jpg\n',
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == generate(folder, folder / 'images' / '1.jpg', '--top', 1).stdout


def test_unreadable_images_are_named_and_the_others_captioned(folder, tmp_path):
    (tmp_path / 'broken.jpg').write_text('not an image')
    process = generate(folder, tmp_path / 'broken.jpg', folder / 'images')
    assert process.returncode == 1
    (error,) = process.stderr.splitlines()
    assert 'broken.jpg' in error
    assert sum(line.startswith('# ') for line in process.stdout.splitlines()) == 3


def test_a_path_that_does_not_exist_is_an_error(folder, tmp_path):
    process = generate(folder, folder / 'images', tmp_path / 'none.png')
    assert_input_error(process, 'none.png: no such image or folder')


def test_paths_of_any_kind_are_named_in_one_line_each(folder, tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'broken.jpg').symlink_to('none')
    (tmp_path / 'images' / 'two\nlines.jpg').write_text('not an image')
    shutil.copy(folder / 'images' / '0.jpg', tmp_path / 'images' / 'three\n# 3.jpg')
    lines = ['nul\0.jpg', 'x' * 5000, str(tmp_path / 'images')]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    process = generate(folder, '-l', tmp_path / 'list.txt', '--top', 1)
    assert process.returncode == 1
    expected = ['embedded null', 'File name too long', 'No such file', 'not an image']
    errors = process.stderr.splitlines()
    assert len(errors) == len(expected)
    for error, reason in zip(errors, expected):
        assert error.startswith('unreadable: ')
        assert reason in error
    name, _ = process.stdout.splitlines()
    assert name == f'# {tmp_path}/images/three\\n# 3.jpg'


def test_file_names_may_be_invalid_text(folder, tmp_path):
    name = os.fsencode(tmp_path / 'name_') + b'\xff.jpg'
    shutil.copy(folder / 'images' / '0.jpg', name)
    process = generate(folder, tmp_path, '--json', tmp_path / 'captions.json')
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f'# {tmp_path}/name_\\udcff.jpg\n')
    (result,) = json.loads((tmp_path / 'captions.json').read_text())
    assert os.fsencode(result['image']) == name


def test_unreadable_images_alone_give_an_empty_result(folder, tmp_path):
    (tmp_path / 'broken.png').write_text('not an image')
    process = generate(folder, tmp_path / 'broken.png', '--json', tmp_path / 'captions.json')
    assert process.returncode == 1
    assert process.stdout == ''
    assert json.loads((tmp_path / 'captions.json').read_text()) == []
    (tmp_path / 'page.html').write_text('an earlier page')
    generate(folder, tmp_path / 'broken.png', '--html', tmp_path / 'page.html')
    assert (tmp_path / 'page.html').read_text() == 'an earlier page'


def test_model_without_feature_source_uses_vgg19(folder):
    image = folder / 'images' / '0.jpg'
    process = generate(folder, image, models=['sourceless.h5'])
    assert process.stdout == generate(folder, image).stdout


def test_flags_that_differ_from_the_model_are_noted(folder):
    process = generate(folder, folder / 'images', '--layer', 'fc6', '--resize', 'crop')
    assert process.returncode == 0
    notes = process.stderr.splitlines()
    assert len(notes) == 2
    assert notes[0].startswith('note: layer fc6 ') and 'fc7' in notes[0]
    assert notes[1].startswith('note: resize crop ') and 'warp' in notes[1]


def test_invalid_input_is_rejected(folder, tmp_path):
    image = folder / 'images' / '0.jpg'

    def run(*flags, **files):
        return generate(folder, image, *flags, **files)

    assert_input_error(run(models=['other.h5']), 'layer fc7', 'size 12', 'other.h5', 'size 13')
    assert_input_error(run('--layer', 'fc9'), '--layer fc9')
    assert_input_error(run(models=['vgg19.caffemodel']), 'vgg19.caffemodel', 'not a model file')
    assert_input_error(run(models=['none.h5']), 'none.h5')
    assert_input_error(run('--top', 30), '--top 30')
    assert_input_error(run('--mbr-neighbors', 3), '--mbr-neighbors needs --index')
    assert_input_error(run('-g', 99), '--gpu 99')
    assert_input_error(run('-l', tmp_path / 'none.txt'), 'none.txt')
    assert_input_error(run(cnn='none.caffemodel'), 'none.caffemodel')
    assert_input_error(generate(folder), 'no images')
    assert_input_error(generate(folder, tmp_path), 'no images', tmp_path)
    process = run('--image-size', 300)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith('error: --image-size 300')


def test_output_that_cannot_be_written_is_rejected(folder, tmp_path):
    (tmp_path / 'file').touch()
    process = generate(folder, folder / 'images', '--json', tmp_path / 'file' / 'x.json')
    assert_input_error(process, 'file')


def test_samples_are_the_same_for_the_same_seed(folder):
    flags = '--search', 'sample', '--temperature', 3, '--max-length', 12
    plain, sampled, repeated, other = (
        generate(folder, folder / 'images', *more).stdout
        for more in (flags[4:], flags, flags, (*flags, '--seed', 1))
    )
    assert sampled == repeated
    assert len({plain, sampled, other}) == 3
    assert len(sampled.splitlines()) == 18


def test_writes_an_html_page(folder, tmp_path):
    generate(folder, folder / 'images', '--html', tmp_path / 'page.html', '--top', 2)
    page = (tmp_path / 'page.html').read_text()
    assert page.count('<article>') == page.count('<img ') == 3
    assert page.count('<li>') == 6


def test_ensemble_differs_from_its_first_model(folder, tmp_path):
    other = small_model(feature_size=12, source=SOURCE, hidden_size=9, seed=3)
    other.save(tmp_path / 'b.h5')
    ensemble = generate(folder, folder / 'images', models=['model.h5', tmp_path / 'b.h5'])
    assert ensemble.returncode == 0, ensemble.stderr
    assert ensemble.stdout not in (generate(folder, folder / 'images').stdout, '')
