import json

from lib.datasets import read_datasets
from lib.errors import InputError
from lib.tokens import tokenize
from tests.samples import dataset, write_json

import pytest

COCO = {'images': [{'id': 9, 'file_name': 'b.jpg'}, {'id': 4, 'file_name': 'a.jpg'},
                   {'id': 5, 'file_name': 'without captions.jpg'}],
        'annotations': [{'image_id': 4, 'caption': 'A dog, running.'},
                        {'image_id': 9, 'caption': "Two men\nsit; it's late"},
                        {'image_id': 4, 'caption': 'The DOG runs'},
                        {'image_id': 9, 'caption': ' . '}]}
LIST = 'a.jpg#0\tA dog runs.\n\nb.jpg\tTwo men sit\na.jpg#1\tthe dog\n'


def write(path, text):
    path.write_text(text, encoding='utf-8')
    return str(path)


def test_words_are_split_as_karpathy_did():
    assert tokenize("A man's dog -- it runs, fast!", 'words') == [
        'a', 'mans', 'dog', 'it', 'runs', 'fast']


def test_characters_leave_out_spaces_and_punctuation():
    assert tokenize('犬が、走る。 OK', 'characters') == ['犬', 'が', '走', 'る', 'o', 'k']


def test_reads_cocos_annotations(tmp_path):
    write_json(tmp_path / 'captions_train2014.json', COCO)
    write_json(tmp_path / 'captions_val2014.json', {
        'images': [{'id': 7, 'file_name': 'c.jpg'}],
        'annotations': [{'image_id': 7, 'caption': 'A cat'}]})
    images = read_datasets([str(tmp_path / f'captions_{split}2014.json')
                            for split in ('train', 'val')])
    assert [tuple(image) for image in images] == [
        (0, 4, 'a.jpg', 'train', [['a', 'dog', 'running'], ['the', 'dog', 'runs']],
         ['A dog, running.', 'The DOG runs']),
        (1, 9, 'b.jpg', 'train', [['two', 'men', 'sit', 'its', 'late']],
         ["Two men sit; it's late"]),
        (2, 7, 'c.jpg', 'val', [['a', 'cat']], ['A cat'])]


def test_reads_plain_lists(tmp_path):
    path = write(tmp_path / 'list.txt', LIST)
    images = read_datasets([f'train={path}', f'val={path}'])
    assert [(image.imgid, image.cocoid, image.filename, image.split) for image in images] == [
        (0, -1, 'a.jpg', 'train'), (1, -1, 'b.jpg', 'train'), (2, -1, 'a.jpg', 'val'),
        (3, -1, 'b.jpg', 'val')]
    assert images[0].captions == [['a', 'dog', 'runs'], ['the', 'dog']]
    assert images[0].raw == ['A dog runs.', 'the dog']


def test_reads_characters(tmp_path):
    path = write(tmp_path / 'train.tsv', 'a.jpg\t犬が 走る。\n')
    assert read_datasets([path], 'characters')[0].captions == [['犬', 'が', '走', 'る']]
    content = dataset(n_images=5)
    content['images'][0]['sentences'][0]['raw'] = '犬が走る'
    images = read_datasets([str(write_json(tmp_path / 'dataset.json', content))], 'characters')
    assert images[0].captions[0] == ['犬', 'が', '走', 'る']


def test_pictures_have_the_same_numbers_whatever_captions_are_split_into(tmp_path):
    path = write(tmp_path / 'train.tsv', 'a.jpg\t。\nb.jpg\t犬\n')
    numbers = [{image.filename: image.imgid for image in read_datasets([path], unit)}
               for unit in ('words', 'characters')]
    assert numbers == [{'a.jpg': 0, 'b.jpg': 1}, {'b.jpg': 1}]


@pytest.mark.parametrize('name, content, message', [
    ('list.txt', LIST, r'which split is it\? Write train='),
    ('train_val.txt', LIST, 'which split'),
    ('train.txt', 'a.jpg A dog', 'line 1: no tab'),
    ('train.txt', 'a.jpg\tA dog\n\nb.jpg', 'line 3: no tab'),
    ('train.txt', 'a.jpg\tA\0dog', 'line 1: holds a null'),
    ('train.txt', '', 'no captions'),
    ('train.txt', 'a.jpg\t...', 'no captions'),
    ('train.json', '{"annotations": 3}', 'not annotations of COCO'),
    ('train.json', json.dumps({**COCO, 'images': []}), 'not annotations of COCO'),
    ('train.json', json.dumps({**COCO, 'annotations': [{'image_id': 4, 'caption': None}]}),
     'not annotations of COCO'),
])
def test_wrong_files_are_refused(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as info:
        read_datasets([write(tmp_path / name, content)])
    assert name in str(info.value)


def test_a_dataset_json_stands_alone(tmp_path):
    path = str(write_json(tmp_path / 'dataset.json', dataset()))
    with pytest.raises(InputError, match='give it alone'):
        read_datasets([path, path])
