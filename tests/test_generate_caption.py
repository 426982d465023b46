import json
import os
import shutil

from lib.beam_search import beam_search
from lib.features import FeatureSource
from lib.photographs import prepare, read_photograph
from tests import caffemodels
from tests.samples import assert_input_error, run_script, small_model, write_photograph

import chainer
import numpy
import pytest
from chainer.links.caffe import CaffeFunction

SOURCE = FeatureSource('vgg19.caffemodel', 'fc7', 224, [103.939, 116.779, 123.68], 'warp')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with a caffemodel, trained models and photographs."""
    folder = tmp_path_factory.mktemp('captions')
    caffemodels.write_vgg19(folder / 'vgg19.caffemodel')
    small_model(feature_size=12, source=SOURCE).save(folder / 'model.h5')
    small_model(feature_size=12).save(folder / 'sourceless.h5')
    small_model(feature_size=13, source=SOURCE).save(folder / 'other.h5')
    (folder / 'photos').mkdir()
    for number in range(3):
        write_photograph(folder / 'photos' / f'{number}.jpg', seed=number)
    return folder


def generate(folder, *arguments, model='model.h5'):
    return run_script('generate_caption.py', '-m', folder / model, '-i',
                      folder / 'vgg19.caffemodel', *arguments)


def test_prints_and_writes_the_captions_of_a_folder(folder, tmp_path):
    process = generate(folder, folder / 'photos', '--json', tmp_path / 'captions.json')
    assert process.returncode == 0
    assert process.stderr == ''
    lines = process.stdout.splitlines()
    assert lines[::6] == [f'# {folder}/photos/{number}.jpg' for number in range(3)]
    results = json.loads((tmp_path / 'captions.json').read_text())
    assert len(lines) == 18
    for number, result in enumerate(results):
        assert result['photograph'] == f'{folder}/photos/{number}.jpg'
        assert [each['caption'] for each in result['captions']] == \
            lines[6 * number + 1:6 * number + 6]


def test_captions_are_those_of_the_steps_taken_by_hand(folder, tmp_path):
    generate(folder, folder / 'photos', '--json', tmp_path / 'captions.json', '--top', 3,
             '--beam-width', 4, '--max-length', 6, '--batch-size', 2)
    results = json.loads((tmp_path / 'captions.json').read_text())
    model = small_model(feature_size=12)
    network = CaffeFunction(str(folder / 'vgg19.caffemodel'))
    for result in results:
        pixels = prepare(read_photograph(result['photograph']), 224, SOURCE.mean)[None]
        with chainer.using_config('train', False):
            features, = network(inputs={'data': pixels}, outputs=['fc7'])
        expected, = beam_search(model.network, features.array, 4, 3, 6)
        assert [each['caption'] for each in result['captions']] == [
            model.vocabulary.decode(sentence.tokens) for sentence in expected]
        numpy.testing.assert_allclose([each['log_prob'] for each in result['captions']],
                                      [sentence.log_prob for sentence in expected], atol=1e-3)


def test_files_and_lists_of_any_number(folder, tmp_path):
    photo = folder / 'photos' / '1.jpg'
    (tmp_path / 'list.txt').write_text(f'{photo}\n' * 40)
    process = generate(folder, photo, '-l', tmp_path / 'list.txt', '--top', 1)
    assert process.returncode == 0
    lines = process.stdout.splitlines()
    assert lines[0::2] == [f'# {photo}'] * 41
    assert len(set(lines[1::2])) == 1


def test_unreadable_photographs_are_named_and_the_others_captioned(folder, tmp_path):
    (tmp_path / 'broken.jpg').write_text('no picture')
    process = generate(folder, tmp_path / 'broken.jpg', folder / 'photos', tmp_path / 'none.png')
    assert process.returncode == 1
    errors = process.stderr.splitlines()
    assert len(errors) == 2
    assert 'broken.jpg' in errors[0]
    assert 'none.png' in errors[1]
    assert sum(line.startswith('# ') for line in process.stdout.splitlines()) == 3


def test_file_names_that_are_no_text(folder, tmp_path):
    name = os.fsencode(tmp_path / 'name_') + b'\xff.jpg'
    shutil.copy(folder / 'photos' / '0.jpg', name)
    process = generate(folder, tmp_path, '--json', tmp_path / 'captions.json')
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f'# {tmp_path}/name_\\udcff.jpg\n')
    result, = json.loads((tmp_path / 'captions.json').read_text())
    assert os.fsencode(result['photograph']) == name


def test_only_unreadable_photographs(folder, tmp_path):
    process = generate(folder, tmp_path / 'none.png', '--json', tmp_path / 'captions.json')
    assert process.returncode == 1
    assert process.stdout == ''
    assert json.loads((tmp_path / 'captions.json').read_text()) == []


def test_a_model_that_does_not_know_its_features_means_vgg19(folder):
    photo = folder / 'photos' / '0.jpg'
    assert generate(folder, photo).stdout == generate(folder, photo, model='sourceless.h5').stdout


def test_disagreeing_flags_are_noted(folder):
    process = generate(folder, folder / 'photos', '--layer', 'fc6', '--resize', 'crop')
    assert process.returncode == 0
    notes = process.stderr.splitlines()
    assert len(notes) == 2
    assert 'layer fc6' in notes[0] and 'fc7' in notes[0]
    assert 'resize crop' in notes[1] and 'warp' in notes[1]


def test_wrong_input_is_refused(folder, tmp_path):
    photo = folder / 'photos' / '0.jpg'
    assert_input_error(generate(folder, photo, model='other.h5'), 'size 12', 'size 13', '--layer')
    assert_input_error(generate(folder, photo, '--layer', 'fc9'), '--layer fc9')
    assert_input_error(generate(folder, photo, model='vgg19.caffemodel'), 'not a trained model')
    assert_input_error(generate(folder, photo, model='none.h5'), 'none.h5')
    assert_input_error(generate(folder, photo, '--top', 30), '--top 30')
    assert_input_error(generate(folder, photo, '-g', 99), '--gpu 99')
    assert_input_error(generate(folder, photo, '-l', tmp_path / 'none.txt'), 'none.txt')
    assert_input_error(generate(folder), 'no photographs')
    assert_input_error(generate(folder, tmp_path), 'no photographs')
    assert_input_error(run_script('generate_caption.py', photo, '-m', folder / 'model.h5', '-i',
                                  folder / 'none.caffemodel'), 'none.caffemodel')
    process = generate(folder, photo, '--image-size', 300)
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith('error: --image-size 300')


def test_an_output_that_cannot_be_written_is_refused(folder, tmp_path):
    (tmp_path / 'file').touch()
    assert_input_error(generate(folder, folder / 'photos', '--json', tmp_path / 'file' / 'x.json'),
                       'file')


@pytest.mark.parametrize('flags', [
    ['--length-normalization', 0.7], ['--min-length', 9], ['--no-repeat', 1],
    ['--groups', 5, '--diversity', 2], ['--consensus', 20], ['--sample', '--temperature', 3]],
    ids=lambda flags: flags[0])
def test_other_ways_to_decode_change_the_captions(folder, flags):
    plain, other, again = (generate(folder, folder / 'photos', '--max-length', 12, *more).stdout
                           for more in ([], flags, flags))
    assert other == again != plain
    assert other.count('# ') == 3
    captions = [line.split() for line in other.splitlines() if not line.startswith('# ')]
    assert len(captions) == 15
    if flags[0] == '--min-length':
        assert all(len(words) >= 9 for words in captions)
    if flags[0] == '--no-repeat':
        assert all(len(set(words)) == len(words) for words in captions)


def test_writes_a_page_of_the_photographs(folder, tmp_path):
    generate(folder, folder / 'photos', '--html', tmp_path / 'page.html', '--top', 2)
    page = (tmp_path / 'page.html').read_text()
    assert page.count('<article>') == page.count('<img ') == 3
    assert page.count('<li>') == 6


def test_decoding_flags_that_contradict_each_other(folder):
    photo = folder / 'photos' / '0.jpg'
    assert_input_error(generate(folder, photo, '--groups', 3), '--groups 3', '20')
    assert_input_error(generate(folder, photo, '--min-length', 61), '--min-length 61')
    assert_input_error(generate(folder, photo, '--sample', '--groups', 2), '--sample')
    assert_input_error(generate(folder, photo, '--sample', '--consensus', 20), '--consensus')


def test_models_caption_together(folder, tmp_path):
    small_model(feature_size=12, source=SOURCE, hidden_size=9, seed=3).save(tmp_path / 'b.h5')
    together = run_script(
        'generate_caption.py', '-m', folder / 'model.h5', tmp_path / 'b.h5', '-i',
        folder / 'vgg19.caffemodel', folder / 'photos')
    assert together.returncode == 0, together.stderr
    assert together.stdout not in (generate(folder, folder / 'photos').stdout, '')
