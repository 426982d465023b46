import json
import os
import re
from pathlib import Path

import pytest

from lib.captions import readers
from lib.captions.annotations import read_dataset
from lib.captions.readers import CaptionedImage
from lib.errors import InputError, InputWarning
from tests.helpers.samples import dataset, write_json
from tests.helpers.scripts import ROOT

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
COCO_WITH_EQUAL_IDS = {**COCO, 'images': [{'id': 4, 'file_name': name} for name in 'ab']}
COCO_WITH_TEXT_AS_ID = {**COCO, 'annotations': [{'image_id': '4', 'caption': 'A dog'}]}
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
    assert [image._replace(listed_in='') for image in images] == [
        CaptionedImage(
            imgid=0,
            cocoid=9,
            filename='b.jpg',
            split='train',
            tokens=[['two', 'men', 'sit', 'its', 'late']],
            raw=["Two men sit; it's late"],
        ),
        CaptionedImage(
            imgid=1,
            cocoid=4,
            filename='a.jpg',
            split='train',
            tokens=[['a', 'dog', 'running'], ['the', 'dog', 'runs']],
            raw=['A dog, running.', 'The DOG runs'],
        ),
        # Images without captions are numbered, too.
        CaptionedImage(
            imgid=3, cocoid=7, filename='c.jpg', split='val', tokens=[['a', 'cat']], raw=['A cat']
        ),
    ]
    assert [os.path.basename(image.listed_in) for image in images] == [
        'captions_train2014.json',
        'captions_train2014.json',
        'captions_val2014.json',
    ]


def test_images_for_the_test_server_are_kept_without_captions(tmp_path):
    write_json(tmp_path / 'captions_train2014.json', COCO)
    write_json(tmp_path / 'image_info_test2014.json', {'images': COCO_VAL['images']})
    files = [
        str(tmp_path / name) for name in ('captions_train2014.json', 'image_info_test2014.json')
    ]
    *_, image = read_dataset(files)
    assert image[:6] == (3, 7, 'c.jpg', 'test', [], [])
    write_json(
        tmp_path / 'captions_test.json', {**COCO_VAL, 'images': [{'id': 7, 'file_name': 'd'}]}
    )
    with pytest.raises(InputError, match='image_info_test2014.json: c.jpg has no captions, unlike'):
        read_dataset([*files, str(tmp_path / 'captions_test.json')])


def test_reads_what_neuraltalk2_downloads(tmp_path):
    content = [{'file_path': 'val2014/a.jpg', 'id': 5, 'captions': ['A dog.', 'The dog']}]
    path = str(write_json(tmp_path / 'coco_raw.json', content))
    (image,) = read_dataset([f'train={path}'])
    assert image[:6] == (
        0, 5, 'val2014/a.jpg', 'train', [['a', 'dog'], ['the', 'dog']], ['A dog.', 'The dog'],
    )  # fmt: skip


@pytest.mark.parametrize('suffix', ['.jpg', ''])
def test_lists_of_images_give_the_splits(tmp_path, suffix):
    captions = write(
        tmp_path / 'Flickr8k.token.txt', ''.join(f'{n}.jpg#0\tdog {n}\n' for n in 'abcd')
    )
    lists = [
        write(tmp_path / f'Flickr_8k.{split}Images.txt', ''.join(f'{n}{suffix}\n' for n in names))
        for split, names in (('train', 'ca'), ('dev', 'd'))
    ]
    with pytest.warns(InputWarning, match='no list of a split names them: 1 images'):
        images = read_dataset([*lists, captions])
    assert [(image.imgid, image.filename, image.split) for image in images] == [
        (0, 'a.jpg', 'train'),
        (2, 'c.jpg', 'train'),
        (3, 'd.jpg', 'val'),
    ]
    with pytest.raises(InputError, match='token.txt: cannot tell its split; .* or add lists'):
        read_dataset([captions])
    lists.append(write(tmp_path / 'test.txt', './a.jpg#1\nmy other.jpg\n'))
    with pytest.raises(InputError, match='test.txt: a.jpg is also in a list of the split train'):
        read_dataset([captions, *lists])
    with pytest.warns(InputWarning, match='test.txt: left out, since they have no captions: 1 im'):
        read_dataset([captions, lists[-1]])


def test_lists_of_images_tell_files_of_two_suffixes_apart(tmp_path):
    captions = write(tmp_path / 'all.tsv', 'a.jpg\tdog\na.png\tcat\n')
    lists = [
        write(tmp_path / f'{split}.txt', f'a.{suffix}\n')
        for split, suffix in (('train', 'jpg'), ('test', 'png'))
    ]
    assert [image.split for image in read_dataset([captions, *lists])] == ['train', 'test']


@pytest.mark.parametrize(
    'name, split',
    [
        ('captions_train2014.json', 'train'),
        ('trainImages.txt', 'train'),
        ('TEST.tsv', 'test'),
        ('my-validation.csv', 'val'),
    ],
)
def test_the_split_is_a_word_of_the_name(tmp_path, name, split):
    content = json.dumps(COCO_VAL) if name.endswith('json') else 'a.jpg\ta dog\n'
    assert read_dataset([write(tmp_path / name, content)])[0].split == split


def test_columns_of_splits_have_many_names(tmp_path):
    rows = ['Train', 'dev', 'validation', 'test']
    lines = ''.join(f'{n}.jpg,{split},a dog\n' for n, split in enumerate(rows))
    images = read_dataset([write(tmp_path / 'all.csv', f'image,split,caption\n{lines}')])
    assert [image.split for image in images] == ['train', 'val', 'val', 'test']
    path = write(tmp_path / 'all.csv', 'image,split,caption\na.jpg,,a dog\n')
    with pytest.raises(InputError, match='all.csv: cannot tell its split'):
        read_dataset([path])
    assert read_dataset([f'train={path}'])[0].split == 'train'


def test_images_without_captions_are_counted(tmp_path):
    path = write(tmp_path / 'train.tsv', 'a.jpg\ta dog\nb.jpg\t...\n')
    with pytest.warns(InputWarning, match='left out, since they have no captions: 1 images'):
        read_dataset([path])


def test_images_in_several_splits_are_noted(tmp_path):
    files = [write(tmp_path / f'{split}.tsv', 'a.jpg\ta dog\n') for split in ('train', 'val')]
    with pytest.warns(
        InputWarning, match=r'listed more than once: 1, such as a.jpg \(in train, val\)'
    ):
        read_dataset(files)


def test_texts_are_in_normal_form_c(tmp_path):
    path = write(tmp_path / 'train.tsv', 'cafe\u0301.jpg\tcafe\u0301 noir\n')
    (image,) = read_dataset([path])
    assert (image.filename, image.tokens, image.raw) == (
        'caf\xe9.jpg', [['caf\xe9', 'noir']], ['caf\xe9 noir'],
    )  # fmt: skip
    content = dataset(n_images=1)
    content['images'][0]['sentences'][0]['tokens'] = ['cafe\u0301']
    (image,) = read_dataset([str(write_json(tmp_path / 'dataset.json', content))])
    assert image.tokens[0] == ['caf\xe9']


def test_sentences_without_tokens_are_dropped(tmp_path):
    content = dataset(n_images=1)
    content['images'][0]['sentences'][1].update(tokens=[], raw=' .')
    (image,) = read_dataset([str(write_json(tmp_path / 'dataset.json', content))])
    assert [*map(len, image.tokens)] == [3, 5, 1, 4]
    assert len(image.raw) == 4


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
    # Split into words, the first caption is empty.
    path = write(tmp_path / 'train.tsv', 'a.jpg\t´\nb.jpg\t犬\n')
    imgids = [
        {image.filename: image.imgid for image in read_dataset([path], tokenizer)}
        for tokenizer in ('words', 'characters')
    ]
    assert imgids == [{'b.jpg': 1}, {'a.jpg': 0, 'b.jpg': 1}]


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('list.txt', PLAIN_LIST, 'cannot tell its split; write train='),
        ('train_val.txt', PLAIN_LIST, 'cannot tell its split'),
        ('train.txt', 'a.jpg A dog', 'line 1: no tab'),
        ('train.txt', 'a.jpg\tA dog\n\nb.jpg', 'line 3: no tab'),
        ('train.txt', 'a.jpg\tA\0dog', 'image .a.jpg.: .* is not valid text'),
        ('train.txt', 'a\0b.jpg\tA dog', 'is not valid text'),
        ('train.txt', 'a.jpg\tA dog\n#1\tA dog', 'has no file name'),
        ('train.txt', '', 'no captions'),
        ('train.txt', 'a.jpg\t...', 'no captions'),
        ('train.json', '{"annotations": 3}', "not COCO's caption annotations"),
        ('train.json', json.dumps(COCO_WITHOUT_IMAGES), 'image_id 4 is not among the images'),
        ('train.json', json.dumps(COCO_WITH_EQUAL_IDS), 'several images have the same id'),
        ('train.json', json.dumps(COCO_WITHOUT_TEXT), "not COCO's caption annotations"),
        ('latest.tsv', 'a.jpg\tA dog', 'cannot tell its split'),
        ('train.json', json.dumps([{'file_path': 'a.jpg', 'captions': 'A dog'}]), 'not a list'),
        ('train.json', json.dumps(COCO_WITH_TEXT_AS_ID), "image_id '4' is not among the images"),
        ('train.json', coco_with_id('Infinity'), 'cocoid inf is not an integer'),
        ('train.json', coco_with_id(1.5), 'cocoid 1.5 is not an integer'),
        ('train.json', coco_with_id('true'), 'cocoid True is not an integer'),
        ('train.json', coco_with_id(2**63), f'cocoid {2**63} is not an integer from'),
        ('train.json', coco_with_id('9' * 5000), 'not JSON'),
        ('train.json', '[1, 2]', 'not one of'),
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
    with pytest.raises(InputError, match='numbers its images itself; give it alone'):
        read_dataset([path, path])


def test_the_reader_in_the_documentation_works(tmp_path, monkeypatch):
    page = Path(ROOT, 'docs', 'data.md').read_text(encoding='utf-8')
    section = page[page.index('## Adding a format') :]
    function, line = re.findall(r'```python\n(.*?)```', section, re.DOTALL)
    names = dict(vars(readers))
    exec(function, names)
    added = eval('{' + line + '}', names)
    monkeypatch.setattr(readers, 'READERS', added | readers.READERS)
    content = '{"image": "a.jpg", "captions": ["A dog, running .", "The dog ."]}\n'
    content += '{"image": "b.jpg", "captions": ["Two men ."]}\n'
    images = read_dataset(['train=' + write(tmp_path / 'captions.jsonl', content)])
    assert [(image.imgid, image.filename, image.raw) for image in images] == [
        (0, 'a.jpg', ['A dog, running .', 'The dog .']),
        (1, 'b.jpg', ['Two men .']),
    ]
    assert images[0].tokens == [['a', 'dog', 'running'], ['the', 'dog']]
    with pytest.raises(InputError, match="not lines of JSON: .*'captions'"):
        read_dataset(['train=' + write(tmp_path / 'captions.jsonl', '{"image": "a.jpg"}\n\n{}')])
