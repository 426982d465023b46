import io
import json
import re
from contextlib import redirect_stdout

from lib.trained_model import TrainedModel
from lib.vocabulary import SPECIAL_WORDS
from tests.samples import (
    assert_input_error,
    dataset,
    features_of,
    run_script,
    small_model,
    write_json,
    write_matlab,
    write_photograph,
)

import numpy
import pytest

pytest.importorskip('pycocoevalcap', reason='requirements-eval.txt')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with captions, features and trained models."""
    folder = tmp_path_factory.mktemp('evaluate')
    content = dataset()
    write_json(folder / 'dataset.json', content)
    write_matlab(folder / 'feats.mat', features_of(content))
    run_script('preprocess_vocab.py', folder / 'dataset.json', '-o', folder / 'captions.h5',
               '--min-count', 1)
    process = run_script('train.py', '-s', folder / 'captions.h5', '-i', folder / 'feats.mat',
                         '-o', folder / 'result', '--hidden', 24, '--embed', 24, '--epoch', 12,
                         '--batch-size', 8, '--lr', 0.01, '--dropout', 0)
    assert process.returncode == 0, process.stderr
    return folder


def evaluate(folder, *arguments, models=('result/best.h5',)):
    return run_script('evaluate.py', '-m', *(folder / model for model in models), '-s',
                      folder / 'captions.h5', '-i', folder / 'feats.mat', *arguments)


def test_prints_a_row_for_each_beam_width(folder):
    process = evaluate(folder, '--beam-width', 1, 3, '--split', 'test')
    assert process.returncode == 0, process.stderr
    assert process.stderr == ''
    loss, header, *rows = process.stdout.splitlines()[:4]
    assert loss.startswith('test: loss ')
    assert header.split()[:5] == ['M', 'BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4']
    assert [row.split()[0] for row in rows] == ['1', '3']
    for row in rows:
        cells = dict(zip(header.split(), row.split()))
        assert 30 < float(cells['BLEU-1']) <= 100
        assert 1 <= int(cells['distinct']) <= 6
        assert 2 < float(cells['words']) < 9


def test_the_loss_is_that_of_the_log(folder):
    log = json.loads((folder / 'result' / 'log').read_text())
    best = min(entry['validation/main/loss'] for entry in log)
    assert f'val: loss {best:.4f} ' in evaluate(folder, '--beam-width', 1).stdout


def test_results_are_what_the_coco_evaluation_reads(folder, tmp_path):
    from pycocoevalcap.cider.cider import Cider
    from pycocotools.coco import COCO

    content = json.loads((folder / 'dataset.json').read_text())
    images = [image for image in content['images'] if image['split'] == 'test']
    annotations = write_json(tmp_path / 'annotations.json', {
        'info': {}, 'licenses': [], 'type': 'captions',
        'images': [{'id': image['imgid']} for image in images],
        'annotations': [{'id': sentence['sentid'], 'image_id': image['imgid'],
                         'caption': sentence['raw']}
                        for image in images for sentence in image['sentences']]})
    evaluate(folder, '--split', 'test', '--beam-width', 3, '--json', tmp_path / 'results.json')
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(annotations))
        results = coco.loadRes(str(tmp_path / 'results.json'))
    assert sorted(results.getImgIds()) == [image['imgid'] for image in images]
    scores, = json.loads((tmp_path / 'results_scores.json').read_text())
    assert scores['beam_width'] == 3
    entries = json.loads((tmp_path / 'results.json').read_text())
    assert sum(entry['CIDEr'] for entry in entries) / len(entries) == pytest.approx(scores['CIDEr'])
    # The words of these captions are the same to every tokenizer.
    cider, _ = Cider().compute_score(
        {image: [entry['caption'].rstrip(' .') for entry in coco.imgToAnns[image]]
         for image in coco.getImgIds()},
        {image: [entry['caption'] for entry in results.imgToAnns[image]]
         for image in coco.getImgIds()})
    assert scores['CIDEr'] == pytest.approx(cider)


def test_each_beam_width_gets_its_file(folder, tmp_path):
    evaluate(folder, '--beam-width', 1, 2, '--json', tmp_path / 'r.json')
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'r_beam1.json', 'r_beam2.json', 'r_scores.json']


def test_writes_a_page_with_the_best_captions_first(folder, tmp_path):
    write_photograph(tmp_path / '4.jpg')
    process = evaluate(folder, '--split', 'test', '--beam-width', 3, '--html',
                       tmp_path / 'page.html', '--image-root', tmp_path)
    assert process.returncode == 0, process.stderr
    page = (tmp_path / 'page.html').read_text()
    scores = [float(score) for score in re.findall(r'CIDEr ([0-9.]+)</h2>', page)]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert page.count('<img ') == 1
    assert page.count('<ul>') == 6


def test_says_so_without_java(folder, monkeypatch, tmp_path):
    (tmp_path / 'java').write_text('#!/bin/sh\nexit 1\n')
    (tmp_path / 'java').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    process = evaluate(folder, '--beam-width', 1)
    assert process.returncode == 0, process.stderr
    assert 'METEOR ' not in process.stdout.splitlines()[1]
    assert 'There is no java' in process.stdout


def test_scores_characters(tmp_path):
    lines = ''.join(f'{n}.jpg\t{"犬が走る" if n % 2 else "猫が眠る"}\n' for n in range(12))
    for split in 'train', 'val':
        (tmp_path / f'{split}.tsv').write_text(lines, encoding='utf-8')
    write_matlab(tmp_path / 'feats.mat', numpy.eye(2, dtype='float32')[numpy.arange(24) % 2])
    run_script('preprocess_vocab.py', tmp_path / 'train.tsv', tmp_path / 'val.tsv', '--tokens',
               'characters', '-o', tmp_path / 'captions.h5')
    run_script('train.py', '-s', tmp_path / 'captions.h5', '-i', tmp_path / 'feats.mat', '-o',
               tmp_path / 'result', '--hidden', 16, '--embed', 16, '--epoch', 40, '--batch-size',
               4, '--lr', 0.02, '--dropout', 0)
    process = run_script('evaluate.py', '-m', tmp_path / 'result' / 'best.h5', '-s',
                         tmp_path / 'captions.h5', '-i', tmp_path / 'feats.mat', '--beam-width', 2)
    assert process.returncode == 0, process.stderr
    header, row = (line.split() for line in process.stdout.splitlines()[1:3])
    cells = dict(zip(header, row))
    assert cells['BLEU-4'] == '100.0'
    assert cells['words'] == '4.0'
    assert cells['new'] == '0.0%'
    assert 'scores of characters' in process.stdout


def test_models_caption_together(folder, tmp_path):
    result = folder / 'result'
    alone, twice, mixed = (
        evaluate(folder, '--beam-width', 3, models=models).stdout for models in (
            ['result/best.h5'], ['result/best.h5'] * 2, ['result/best.h5', 'result/epoch_003.h5']))
    assert alone == twice
    assert mixed != alone
    model = TrainedModel.load(result / 'best.h5')
    small_model(words=[*model.vocabulary.words[len(SPECIAL_WORDS):-1], 'other']).save(
        tmp_path / 'other.h5')
    assert_input_error(evaluate(folder, models=['result/best.h5', tmp_path / 'other.h5']),
                       'other.h5', 'other words')


def test_weights_are_averaged(folder, tmp_path):
    epochs = ['result/epoch_011.h5', 'result/epoch_012.h5']
    process = evaluate(folder, '--beam-width', 1, '--average', tmp_path / 'mean.h5', models=epochs)
    assert process.returncode == 0, process.stderr
    mean, *parts = (TrainedModel.load(path).network for path in (
        tmp_path / 'mean.h5', *(folder / epoch for epoch in epochs)))
    for param, *others in zip(mean.params(), *(part.params() for part in parts)):
        numpy.testing.assert_allclose(param.array, sum(other.array for other in others) / 2,
                                      atol=1e-6)
    assert evaluate(folder, '--beam-width', 1,
                    models=[tmp_path / 'mean.h5']).stdout == process.stdout
    model = TrainedModel.load(folder / epochs[0])
    small_model(words=model.vocabulary.words[len(SPECIAL_WORDS):]).save(tmp_path / 'small.h5')
    assert_input_error(evaluate(folder, '--average', tmp_path / 'mean.h5',
                                models=[epochs[0], tmp_path / 'small.h5']), '--average')


def test_wrong_input(folder, tmp_path):
    small_model(feature_size=9).save(tmp_path / 'wide.h5')
    assert_input_error(evaluate(folder, models=[tmp_path / 'wide.h5']), 'feats.mat', 'size 9')
    assert_input_error(evaluate(folder, '--split', 'restval'), 'restval')
    assert_input_error(evaluate(folder, models=['missing.h5']), 'missing.h5')
    assert_input_error(evaluate(folder, '--beam-width', 0), '--beam-width')
