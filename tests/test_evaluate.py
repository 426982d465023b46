import dataclasses
import io
import json
import re
from contextlib import redirect_stdout

import numpy
import pytest
import scipy.io

from lib.captions.vocabulary import SPECIAL_TOKENS, UNK
from lib.features.feature_source import FeatureSource
from lib.features.writer import save_features
from lib.trained_model import TrainedModel
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import (
    dataset,
    features_of,
    small_model,
    write_image,
    write_json,
    write_matlab,
)
from tests.helpers.scripts import run_script

pytest.importorskip('pycocoevalcap')


def train(folder, flags):
    """Trains on a folder's captions and features and writes to its folder ``result``."""
    inputs = ['-s', folder / 'captions.h5', '-i', folder / 'feats.mat', '-o', folder / 'result']
    process = run_script('train.py', *inputs, '--dropout', 0, *flags.split())
    assert process.returncode == 0, process.stderr


def evaluate(folder, *flags, models=('result/best.h5',)):
    inputs = ['-s', folder / 'captions.h5', '-i', folder / 'feats.mat']
    models = [folder / model for model in models]
    return run_script('evaluate.py', '-m', *models, *inputs, *flags)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with captions, features and trained models."""
    folder = tmp_path_factory.mktemp('evaluate')
    content = dataset()
    path = write_json(folder / 'dataset.json', content)
    write_matlab(folder / 'feats.mat', features_of(content))
    run_script('preprocess_vocab.py', path, '-o', folder / 'captions.h5', '--min-count', 1)
    train(folder, '--hidden 24 --embed 24 --epoch 12 --batch-size 8 --lr 0.01')
    return folder


def test_prints_a_row_for_each_beam_width(folder):
    process = evaluate(folder, '--beam-width', 1, 3, '--split', 'test')
    assert process.returncode == 0, process.stderr
    assert process.stderr == ''
    loss, header, *rows, remark = process.stdout.splitlines()
    assert loss.startswith('test: loss ')
    names = 'M BLEU-1 BLEU-2 BLEU-3 BLEU-4 ROUGE-L CIDEr distinct new words'
    assert header.split() == names.split()
    assert [row.split()[0] for row in rows] == ['1', '±', '3', '±']
    for row in rows[::2]:
        cells = dict(zip(header.split(), row.split()))
        assert 30 < float(cells['BLEU-1']) <= 100
        assert 1 <= int(cells['distinct']) <= 6
        assert 2 < float(cells['words']) < 9
    for interval in rows[1::2]:
        assert all(0 <= float(cell) < 100 for cell in interval.split()[1:])
    assert remark.startswith('java was not found, or does not work, so METEOR is left out')


def test_java_adds_meteor(java, folder):
    process = evaluate(folder, '--beam-width', 1, '--split', 'test')
    assert process.returncode == 0, process.stderr
    _, header, row, _ = process.stdout.splitlines()
    assert 0 < float(dict(zip(header.split(), row.split()))['METEOR']) < 100


def test_coco_evaluation_reads_the_results(folder, tmp_path):
    from pycocoevalcap.cider.cider import Cider
    from pycocotools.coco import COCO

    content = json.loads((folder / 'dataset.json').read_text())
    images = [image for image in content['images'] if image['split'] == 'test']
    annotations = write_json(
        tmp_path / 'annotations.json',
        {
            'info': {},
            'licenses': [],
            'type': 'captions',
            'images': [{'id': image['imgid']} for image in images],
            'annotations': [
                {'id': sentence['sentid'], 'image_id': image['imgid'], 'caption': sentence['raw']}
                for image in images
                for sentence in image['sentences']
            ],
        },
    )
    evaluate(folder, '--split', 'test', '--beam-width', 3, '--json', tmp_path / 'results.json')
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(annotations))
        results = coco.loadRes(str(tmp_path / 'results.json'))
    assert sorted(results.getImgIds()) == [image['imgid'] for image in images]
    (scores,) = json.loads((tmp_path / 'results_scores.json').read_text())
    assert scores['beam_width'] == 3
    entries = json.loads((tmp_path / 'results.json').read_text())
    assert sum(entry['CIDEr'] for entry in entries) / len(entries) == pytest.approx(scores['CIDEr'])
    # All tokenizers split these captions alike.
    references, captions = (
        {
            image: [entry['caption'].rstrip(' .') for entry in annotated.imgToAnns[image]]
            for image in coco.getImgIds()
        }
        for annotated in (coco, results)
    )
    cider, _ = Cider().compute_score(references, captions)
    assert scores['CIDEr'] == pytest.approx(cider)


def test_each_beam_width_has_its_results_file(folder, tmp_path):
    evaluate(folder, '--beam-width', 1, 2, '--json', tmp_path / 'r.json')
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['r_beam1.json', 'r_beam2.json', 'r_scores.json']


def test_html_page_shows_the_best_captions_first(folder, tmp_path):
    write_image(tmp_path / '4.jpg')
    page = tmp_path / 'page.html'
    flags = ['--split', 'test', '--beam-width', 3, '--html', page, '--image-root', tmp_path]
    process = evaluate(folder, *flags)
    assert process.returncode == 0, process.stderr
    html = page.read_text()
    scores = [float(score) for score in re.findall(r'CIDEr ([0-9.]+)</h2>', html)]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert html.count('<img ') == 1
    assert html.count('<ul>') == 6


def test_compares_with_other_captions_of_the_images(folder, tmp_path):
    path = tmp_path / 'other.json'
    assert evaluate(folder, '--beam-width', 1, '--json', path).returncode == 0
    process = evaluate(folder, '--beam-width', 20, '--compare', path, '--json', tmp_path / 'a.json')
    assert process.returncode == 0, process.stderr
    scores = [json.loads((tmp_path / f'{name}_scores.json').read_text()) for name in ('a', 'other')]
    (this,), (other,) = scores
    assert f'difference from {path}' in process.stdout
    for name, difference in this['differences'].items():
        assert difference['value'] == pytest.approx(this[name] - other[name])
        assert difference['low'] <= difference['value'] <= difference['high']
    for name, (low, high) in this['intervals'].items():
        assert low <= this[name] <= high
    # Where nothing differs, nothing is better.
    process = evaluate(folder, '--beam-width', 1, '--compare', path)
    p_values = next(line for line in process.stdout.splitlines() if line.split()[0] == 'p')
    assert set(p_values.split()) == {'p', '1.000'}


def test_captions_of_other_images_cannot_be_compared(folder, tmp_path):
    write_json(tmp_path / 'other.json', [{'image_id': 3, 'caption': 'a dog'}])
    process = evaluate(folder, '--beam-width', 1, '--compare', tmp_path / 'other.json')
    assert_input_error(process, 'other.json: has captions of other images: of 1, without 5')


def test_models_trained_on_other_captions_are_noted(folder, tmp_path):
    content = dataset()
    for image in content['images']:
        image['split'] = {'train': 'val', 'val': 'train'}.get(image['split'], 'test')
    path = write_json(tmp_path / 'dataset.json', content)
    run_script('preprocess_vocab.py', path, '-o', tmp_path / 'captions.h5', '--min-count', 1)
    other = evaluate(folder, '-s', tmp_path / 'captions.h5', '--beam-width', 1)
    assert other.returncode == 0, other.stderr
    assert 'best.h5: was trained on other captions than' in other.stderr
    assert evaluate(folder, '--beam-width', 1).stderr == ''


def test_features_extracted_in_another_way_are_noted_or_refused(folder, tmp_path):
    features = features_of(dataset())
    names = [f'{n}.jpg' for n in range(len(features))]
    source = FeatureSource('vgg19.caffemodel', 'fc7', 224, [1.0, 2.0, 3.0], 'warp')
    model = TrainedModel.load(str(folder / 'result' / 'best.h5'))
    model.feature_source = source
    model.save(tmp_path / 'model.h5')
    for changes, message in (
        ({}, ''),
        ({'resize': 'crop'}, 'note: resize crop is used, but .*model.h5 was trained with warp'),
        ({'layer': 'fc6'}, 'error: .*feats.h5: has features of layer fc6, but .* those of fc7'),
        ({'network': 'vgg16'}, 'error: .*feats.h5: has features of network vgg16, but .*'),
    ):
        changed = dataclasses.replace(source, **changes)
        save_features(tmp_path / 'feats.h5', features, changed, names)
        inputs = '-s', folder / 'captions.h5', '-i', tmp_path / 'feats.h5'
        model_flags = '-m', tmp_path / 'model.h5'
        commands = [
            ['evaluate.py', '--beam-width', 1],
            ['train.py', '--epoch', 1, '-o', tmp_path / f'result{message[:9]}'],
        ]
        for command in commands:
            process = run_script(*command, *model_flags, *inputs)
            assert process.returncode == (2 if message.startswith('error') else 0), process.stderr
            assert re.fullmatch(message, process.stderr.strip()), process.stderr


def test_images_without_captions_are_captioned_for_the_test_server(folder, tmp_path):
    content = dataset()
    coco = {'images': [], 'annotations': []}
    for image in content['images'][:20]:
        coco['images'].append({'id': 100 + image['imgid'], 'file_name': image['filename']})
        captions = [sentence['raw'] for sentence in image['sentences']]
        coco['annotations'] += [
            {'image_id': 100 + image['imgid'], 'caption': text} for text in captions
        ]
    info = [
        {'id': 100 + image['imgid'], 'file_name': image['filename']}
        for image in content['images'][20:]
    ]
    train_file = write_json(tmp_path / 'captions_train2014.json', coco)
    test_file = write_json(tmp_path / 'image_info_test2014.json', {'images': info})
    captions = tmp_path / 'captions.h5'
    flags = '--min-count', 1, '--val-size', 5, '-o', captions
    process = run_script('preprocess_vocab.py', train_file, test_file, *flags)
    assert process.returncode == 0, process.stderr
    flags = '-s', captions, '--split', 'test', '--beam-width', 2, '--json', tmp_path / 'r.json'
    process = evaluate(folder, *flags)
    assert process.returncode == 0, process.stderr
    assert 'BLEU' not in process.stdout and 'loss' not in process.stdout
    results = json.loads((tmp_path / 'r.json').read_text())
    assert [result['image_id'] for result in results] == [*range(120, 130)]
    process = evaluate(folder, '-s', captions, '--split', 'test')
    assert_input_error(process, 'captions.h5: has no captions in the split "test"', '--json')


def test_captions_are_written_before_a_metric_fails(folder, tmp_path, monkeypatch):
    code = """
from lib.evaluation import metrics
def fail(*arguments):
    raise metrics.InputError('METEOR failed')
metrics.compute_meteor = fail
metrics.tokenize_treebank = lambda captions: captions
from lib.evaluation import evaluator
evaluator.has_java = lambda: True
"""
    monkeypatch.setattr('tests.helpers.scripts.PRELUDE', code)
    process = evaluate(folder, '--beam-width', 1, '--json', tmp_path / 'r.json')
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith('METEOR is left out: METEOR failed\n')
    assert 'CIDEr' in json.loads((tmp_path / 'r.json').read_text())[0]


def test_unknown_tokens_can_be_forbidden(folder, tmp_path):
    model = TrainedModel.load(str(folder / 'result' / 'best.h5'))
    model.network.output.b.array[UNK] = 9
    model.save(tmp_path / 'model.h5')
    captions = []
    for flags in [], ['--forbid-unknown']:
        path = tmp_path / 'r.json'
        evaluate(folder, '--beam-width', 2, '--json', path, *flags, models=[tmp_path / 'model.h5'])
        captions.append(' '.join(result['caption'] for result in json.loads(path.read_text())))
    assert '<UNK>' in captions[0]
    assert '<UNK>' not in captions[1]


def test_captions_that_do_not_end_are_noted(folder):
    process = evaluate(folder, '--beam-width', 1, '--max-length', 1)
    assert process.stderr == (
        'note: the captions of all of 6 images reach the maximum length of 1 tokens\n'
    )


def test_captions_are_counted_and_written_without_pycocoevalcap(folder, no_pycocoevalcap, tmp_path):
    results, page = tmp_path / 'r.json', tmp_path / 'page.html'
    process = evaluate(folder, '--beam-width', 1, 3, '--json', results, '--html', page)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ''
    loss, header, *rows, remark = process.stdout.splitlines()
    assert loss.startswith('val: loss ')
    names = 'M distinct new words'
    assert header.split() == names.split()
    assert [row.split()[0] for row in rows] == ['1', '3']
    assert remark.startswith('pycocoevalcap was not found, so BLEU, METEOR, ROUGE-L and CIDEr are')
    assert remark.endswith('pip install pycocoevalcap')
    scores = json.loads((tmp_path / 'r_scores.json').read_text())
    assert [row['intervals'] for row in scores] == [{}, {}]
    captions = json.loads((tmp_path / 'r_beam3.json').read_text())
    assert [result.keys() for result in captions] == [{'image_id', 'caption'}] * 6
    # In the order of the data set.
    html = page.read_text()
    names = re.findall(r'<h2>(\S+) </h2>', html)
    assert names == [f'{result["image_id"]}.jpg' for result in captions]
    assert '<h1>6 images of val, beam width 3</h1>' in html

    process = evaluate(folder, '--compare', tmp_path / 'r_beam3.json')
    assert_input_error(process, '--compare', 'r_beam3.json: needs pycocoevalcap; pip install')
    assert process.stdout == ''


def test_scores_captions_split_into_characters(tmp_path):
    lines = ''.join(f'{n}.jpg\t{"犬が走る" if n % 2 else "猫が眠る"}\n' for n in range(12))
    lists = [tmp_path / f'{split}.tsv' for split in ('train', 'val')]
    for path in lists:
        path.write_text(lines, encoding='utf-8')
    features = numpy.eye(2, dtype='float32')[numpy.arange(24) % 2]
    scipy.io.savemat(tmp_path / 'feats.mat', {'feats': features.T})
    output = ['-o', tmp_path / 'captions.h5']
    run_script('preprocess_vocab.py', *lists, '--tokenizer', 'characters', *output)
    train(tmp_path, '--hidden 16 --embed 16 --epoch 12 --batch-size 4 --lr 0.05')
    process = evaluate(tmp_path, '--beam-width', 2)
    assert process.returncode == 0, process.stderr
    header, row = (line.split() for line in process.stdout.splitlines()[1:3])
    cells = dict(zip(header, row))
    assert cells['BLEU-4'] == '100.0'
    assert cells['words'] == '4.0'
    assert cells['new'] == '0.0%'
    assert 'scores of characters' in process.stdout


def test_ensemble_of_equal_models_scores_like_one(folder, tmp_path):
    best = 'result/best.h5'
    alone, twice, mixed = (
        evaluate(folder, '--beam-width', 3, models=models).stdout
        for models in ([best], [best, best], [best, 'result/epoch_003.h5'])
    )
    assert alone == twice
    assert mixed != alone
    words = TrainedModel.load(folder / best).vocabulary.tokens[len(SPECIAL_TOKENS) :]
    small_model(words=[*words[:-1], 'other']).save(tmp_path / 'other.h5')
    process = evaluate(folder, models=[best, tmp_path / 'other.h5'])
    assert_input_error(process, 'other.h5', 'another vocabulary')


def test_images_that_are_not_there_are_noted(folder, tmp_path):
    flags = '--beam-width', 2, '--html', tmp_path / 'page.html', '--image-root', tmp_path
    process = evaluate(folder, *flags)
    assert process.returncode == 0
    assert process.stderr.startswith(f'note: 6 of 6 images are not in {tmp_path}')


def test_invalid_input_is_rejected(folder, tmp_path):
    small_model(feature_size=9).save(tmp_path / 'wide.h5')
    process = evaluate(folder, models=[tmp_path / 'wide.h5'])
    assert_input_error(process, 'feats.mat', 'size 8', 'wide.h5', 'size 9')
    assert_input_error(evaluate(folder, '--split', 'restval'), 'restval')
    assert_input_error(evaluate(folder, models=['missing.h5']), 'missing.h5')
    assert_input_error(evaluate(folder, '--beam-width', 0), '--beam-width')


def test_outputs_are_checked_before_the_work(folder, tmp_path):
    for flag in '--json', '--html':
        process = evaluate(folder, flag, tmp_path)
        assert_input_error(process, tmp_path, 'Is a directory')
        assert process.stdout == ''
