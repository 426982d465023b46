import json

import pytest

from lib.captions.captioned_image import CaptionedImage
from lib.captions.readers import read_dataset
from lib.errors import InputError
from tests.helpers.samples import dataset, write_json

COCO = {
    'images': [
        {'id': 9, 'file_name': 'b.jpg'},
        {'id': 4, 'file_name': 'a.jpg'},
        {'id': 5, 'file_name': 'without captions.jpg'},
    ],
    'annotations': [
        {'image_id': 4, 'caption': 'A dog, running.'},
        {'image_id': 9, 'caption': "Two men\nsit; it's late"},
        {'image_id': 4, 'caption': 'The DOG runs'},
        {'image_id': 9, 'caption': ' . '},
    ],
}
COCO_VAL = {
    'images': [{'id': 7, 'file_name': 'c.jpg'}],
    'annotations': [{'image_id': 7, 'caption': 'A cat'}],
}
COCO_WITHOUT_IMAGES = {**COCO, 'images': []}
COCO_WITHOUT_TEXT = {**COCO, 'annotations': [{'image_id': 4, 'caption': None}]}
PLAIN_LIST = 'a.jpg#0\tA dog runs.\n\nb.jpg\tTwo men sit\na.jpg#1\tthe dog\n'


def coco_with_id(image_id):
    """Returns COCO's annotations as JSON, with an id in JSON in two places."""
    return json.dumps(COCO_VAL).replace('7', str(image_id))


def write(path, text):
    path.write_text(text, encoding='utf-8')
    return str(path)


def test_reads_coco_annotations(tmp_path):
    write_json(tmp_path / 'captions_train2014.json', COCO)
    write_json(tmp_path / 'captions_val2014.json', COCO_VAL)
    images = read_dataset(
        [str(tmp_path / f'captions_{split}2014.json') for split in ('train', 'val')]
    )
    assert images == [
        CaptionedImage(
            imgid=0,
            cocoid=4,
            filename='a.jpg',
            split='train',
            tokens=[['a', 'dog', 'running'], ['the', 'dog', 'runs']],
            raw=['A dog, running.', 'The DOG runs'],
        ),
        CaptionedImage(
            imgid=1,
            cocoid=9,
            filename='b.jpg',
            split='train',
            tokens=[['two', 'men', 'sit', 'its', 'late']],
            raw=["Two men sit; it's late"],
        ),
        CaptionedImage(
            imgid=2, cocoid=7, filename='c.jpg', split='val', tokens=[['a', 'cat']], raw=['A cat']
        ),
    ]


def test_reads_plain_lists(tmp_path):
    path = write(tmp_path / 'list.txt', PLAIN_LIST)
    images = read_dataset([f'train={path}', f'val={path}'])
    assert [(image.imgid, image.cocoid, image.filename, image.split) for image in images] == [
        (0, -1, 'a.jpg', 'train'),
        (1, -1, 'b.jpg', 'train'),
        (2, -1, 'a.jpg', 'val'),
        (3, -1, 'b.jpg', 'val'),
    ]
    assert images[0].tokens == [['a', 'dog', 'runs'], ['the', 'dog']]
    assert images[0].raw == ['A dog runs.', 'the dog']


def test_only_newlines_end_the_lines_of_a_list(tmp_path):
    path = write(tmp_path / 'train.tsv', 'a.jpg\ta\u2028dog\x85runs\r\nb.jpg\ta\x1ccat')
    images = read_dataset([path])
    assert [image.tokens for image in images] == [[['a', 'dog', 'runs']], [['a', 'cat']]]


def test_splits_captions_into_characters(tmp_path):
    path = write(tmp_path / 'train.tsv', 'a.jpg\t犬が 走る。\n')
    assert read_dataset([path], 'characters')[0].tokens == [['犬', 'が', '走', 'る']]
    content = dataset(n_images=5)
    content['images'][0]['sentences'][0]['raw'] = '犬が走る'
    images = read_dataset([str(write_json(tmp_path / 'dataset.json', content))], 'characters')
    assert images[0].tokens[0] == ['犬', 'が', '走', 'る']


def test_imgid_does_not_depend_on_the_tokenizer(tmp_path):
    # Tokenized into characters, the first caption is empty.
    path = write(tmp_path / 'train.tsv', 'a.jpg\t。\nb.jpg\t犬\n')
    imgids = [
        {image.filename: image.imgid for image in read_dataset([path], tokenizer)}
        for tokenizer in ('words', 'characters')
    ]
    assert imgids == [{'a.jpg': 0, 'b.jpg': 1}, {'b.jpg': 1}]


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('list.txt', PLAIN_LIST, 'cannot tell its split; write train='),
        ('train_val.txt', PLAIN_LIST, 'cannot tell its split'),
        ('train.txt', 'a.jpg A dog', 'line 1: no tab'),
        ('train.txt', 'a.jpg\tA dog\n\nb.jpg', 'line 3: no tab'),
        ('train.txt', 'a.jpg\tA\0dog', 'line 1: contains a null'),
        ('train.txt', 'a.jpg\tA dog\n#1\tA dog', 'line 2: no file before the tab'),
        ('train.txt', '', 'no captions'),
        ('train.txt', 'a.jpg\t...', 'no captions'),
        ('train.json', '{"annotations": 3}', "not COCO's caption annotations"),
        ('train.json', json.dumps(COCO_WITHOUT_IMAGES), "not COCO's caption annotations"),
        ('train.json', json.dumps(COCO_WITHOUT_TEXT), "not COCO's caption annotations"),
        ('train.json', coco_with_id('Infinity'), 'the id inf is not an integer'),
        ('train.json', coco_with_id(1.5), 'the id 1.5 is not an integer'),
        ('train.json', coco_with_id('true'), 'the id True is not an integer'),
        ('train.json', coco_with_id(2**63), f'the id {2**63} is not an integer from'),
        ('train.json', coco_with_id('9' * 5000), 'not JSON'),
    ],
)
def test_errors_name_the_invalid_file(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as info:
        read_dataset([write(tmp_path / name, content)])
    assert name in str(info.value)


def test_a_split_in_front_of_a_dataset_json_is_refused(tmp_path):
    path = str(write_json(tmp_path / 'dataset.json', dataset()))
    with pytest.raises(InputError, match='contains the splits; leave out "val="'):
        read_dataset([f'val={path}'])


def test_dataset_json_cannot_be_combined_with_other_files(tmp_path):
    path = str(write_json(tmp_path / 'dataset.json', dataset()))
    with pytest.raises(InputError, match='give it alone'):
        read_dataset([path, path])
