import copy
import json
import re

import numpy
import pytest

from lib.captions.dataset import CaptionDataset
from lib.captions.readers import SPLITS
from lib.captions.vocabulary import UNK
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import dataset, write_json
from tests.helpers.scripts import run_script


def preprocess(folder, content, *flags):
    """Writes ``dataset.json`` to a folder and makes ``captions.h5`` of it."""
    path = write_json(folder / 'dataset.json', content)
    return run_script('preprocess_vocab.py', path, '-o', folder / 'captions.h5', *flags)


def test_writes_every_caption(tmp_path):
    content = dataset()
    process = preprocess(tmp_path, content, '--min-count', 1)
    assert process.returncode == 0
    assert process.stderr == ''
    captions = CaptionDataset.load(tmp_path / 'captions.h5')
    position = 0
    for index, image in enumerate(content['images']):
        assert captions.imgid[index] == image['imgid']
        assert SPLITS[captions.split[index]] == image['split']
        assert captions.filename[index] == image['filename']
        for sentence in image['sentences']:
            assert captions.image[position] == index
            assert captions.raw[position] == sentence['raw']
            if image['split'] == 'train':
                text = captions.vocabulary.decode(captions.tokens_of(position))
                assert text == ' '.join(sentence['tokens'])
            position += 1
    assert position == len(captions.image) == len(captions.offsets) - 1


def test_prints_statistics(tmp_path):
    content = dataset(splits=('train', 'val'))
    rare = content['images'][0]['sentences'][3]
    rare['tokens'] = ['an', 'okapi', *'abcdefgh']
    process = preprocess(tmp_path, content, '--min-count', 2)
    train_images = content['images'][::2]
    n_tokens = sum(
        len(sentence['tokens']) for image in train_images for sentence in image['sentences']
    )
    rows = {row[0]: row[1:] for row in map(str.split, process.stdout.splitlines())}
    # Of "an okapi a b c d e f g h" only "a" is frequent enough.
    assert rows['train'] == ['15', '75', str(n_tokens), f'{9 / n_tokens:.2%}', '10']
    assert rows['val'][:2] == ['15', '75']
    assert rows['vocabulary:'][:2] == ['16', 'tokens,']
    assert rows['split'] == ['images', 'captions', 'tokens', '<UNK>', 'longest']
    assert rows['wrote'] == [str(tmp_path / 'captions.h5')]
    assert process.stderr == ''
    process = preprocess(tmp_path, content, '--min-count', 20)
    assert re.match(r'note: \d+% of the training tokens occur fewer than 20 times', process.stderr)


def test_train_splits_are_merged_into_train(tmp_path):
    content = dataset(splits=('train', 'restval', 'val'))
    for image in content['images']:
        image |= {'cocoid': 1000 + image['imgid'], 'filepath': 'val2014'}
        if image['split'] == 'restval':
            image['sentences'][0]['tokens'] = ['zebra']
    preprocess(tmp_path, content)
    captions = CaptionDataset.load(tmp_path / 'captions.h5')
    assert len(captions.images_of('train')) == len(captions.images_of('restval')) == 10
    assert 'zebra' not in captions.vocabulary.tokens
    preprocess(tmp_path, content, '--train-splits', 'train', 'restval')
    captions = CaptionDataset.load(tmp_path / 'captions.h5')
    assert len(captions.images_of('train')) == 20
    assert len(captions.images_of('restval')) == 0
    assert 'zebra' in captions.vocabulary.tokens
    assert captions.filename[3] == 'val2014/3.jpg'
    assert captions.cocoid[3] == 1003


def test_moves_random_training_images_to_val(tmp_path):
    (tmp_path / 'list.tsv').write_text(''.join(f'{n}.jpg\ta dog runs\n' for n in range(20)))

    def split_list(*flags):
        return run_script('preprocess_vocab.py', f'train={tmp_path}/list.tsv', *flags)

    for name in 'a', 'b':
        process = split_list('--val-size', 5, '-o', tmp_path / f'{name}.h5')
        assert process.returncode == 0, process.stderr
    a, b = (CaptionDataset.load(tmp_path / f'{name}.h5') for name in 'ab')
    assert len(a.images_of('val')) == 5
    assert len(a.images_of('train')) == 15
    numpy.testing.assert_array_equal(a.split, b.split)
    assert_input_error(split_list('--val-size', 20), '--val-size 20')


def test_splits_captions_into_characters(tmp_path):
    source, target = tmp_path / 'train.tsv', tmp_path / 'captions.h5'
    source.write_text('a.jpg\t犬が 走る。\n' * 5, encoding='utf-8')
    process = run_script('preprocess_vocab.py', source, '--tokenizer', 'characters', '-o', target)
    assert process.returncode == 0, process.stderr
    captions = CaptionDataset.load(target)
    assert captions.vocabulary.tokenizer == 'characters'
    assert captions.vocabulary.decode(captions.tokens[:4]) == '犬が走る'
    assert captions.training_texts() == {'犬が走る'}


def test_keeps_words_of_any_language(tmp_path):
    content = dataset()
    for image in content['images']:
        image['sentences'][0] |= {'tokens': ['犬', 'が', '走る', '🐕'], 'raw': '犬が走る 🐕'}
    assert preprocess(tmp_path, content).returncode == 0
    captions = CaptionDataset.load(tmp_path / 'captions.h5')
    assert captions.vocabulary.decode(captions.tokens[:4]) == '犬 が 走る 🐕'
    assert captions.raw[0] == '犬が走る 🐕'


def change(content, path, value):
    """Returns the content with one value replaced, or removed if the new one is ``...``."""
    content = copy.deepcopy(content)
    *path, last = path
    part = content
    for key in path:
        part = part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return content


@pytest.mark.parametrize(
    'path, value, message',
    [
        (['images'], ..., "not Karpathy's dataset.json: after 0 images: KeyError: 'images'"),
        (['images'], 3, "not Karpathy's dataset.json: after 0 images: TypeError"),
        (['images'], [], 'no captions'),
        (['images', 2], 7, 'after 2 images'),
        (['images', 2, 'imgid'], ..., "after 2 images: KeyError: 'imgid'"),
        (['images', 2, 'imgid'], 'two', "imgid 'two'"),
        (['images', 2, 'imgid'], -1, "image '2.jpg': imgid -1 is not an integer from 0 to"),
        (['images', 2, 'imgid'], 2**40, 'imgid'),
        (['images', 2, 'imgid'], 1, 'imgid 1 occurs 2 times'),
        (['images', 2, 'filename'], ..., "'filename'"),
        (['images', 2, 'filename'], '', 'has no file name'),
        (['images', 2, 'filename'], 'a\0b', 'not valid text'),
        (['images', 2, 'filename'], 3, 'after 2 images: TypeError'),
        (['images', 2, 'cocoid'], 2**63, "image '2.jpg': cocoid"),
        (['images', 2, 'cocoid'], True, "image '2.jpg': cocoid"),
        (['images', 2, 'split'], ..., "'split'"),
        (['images', 2, 'split'], 'trian', 'unknown split "trian"'),
        (['images', 2, 'sentences'], ..., "'sentences'"),
        (['images', 2, 'sentences', 1], None, 'after 2 images: TypeError'),
        (['images', 2, 'sentences', 1, 'tokens'], ..., "'tokens'"),
        (['images', 2, 'sentences', 1, 'tokens'], 'a dog', "tokens 'a dog' are not a list"),
        (['images', 2, 'sentences', 1, 'tokens'], ['a', ''], "image '2.jpg': the tokens"),
        (['images', 2, 'sentences', 1, 'tokens'], ['a', 1], "image '2.jpg': sequence item 1"),
        (['images', 2, 'sentences', 1, 'tokens'], ['\ud800'], 'not valid text'),
        (['images', 2, 'sentences', 1, 'raw'], 'a\0b', 'not valid text'),
        (['images', 2, 'sentences', 1, 'raw'], 7, 'after 2 images: AttributeError'),
    ],
)
def test_invalid_datasets_are_rejected_and_the_output_is_kept(tmp_path, path, value, message):
    (tmp_path / 'captions.h5').write_text('precious')
    process = preprocess(tmp_path, change(dataset(), path, value))
    assert_input_error(process, 'dataset.json', message)
    assert (tmp_path / 'captions.h5').read_text() == 'precious'
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    'content',
    [b'', b'text', b'[1, 2]', b'\xff\xfe', b'[' * 100000, json.dumps(dataset()).encode()[:-50]],
    ids=['empty', 'text', 'list', 'not UTF-8', 'nested too deeply', 'cut short'],
)
def test_files_other_than_datasets_are_rejected(tmp_path, content):
    (tmp_path / 'dataset.json').write_bytes(content)
    process = run_script('preprocess_vocab.py', tmp_path / 'dataset.json', cwd=tmp_path)
    assert_input_error(process, 'dataset.json')
    assert [path.name for path in tmp_path.iterdir()] == ['dataset.json']


def test_invalid_flags_are_rejected(tmp_path):
    content = dataset()
    assert_input_error(preprocess(tmp_path, content, '--min-count', 1000), '--min-count')
    assert_input_error(preprocess(tmp_path, content, '--min-count', 0), '--min-count')
    assert_input_error(preprocess(tmp_path, content, '--train-splits', 'tarin'), 'tarin')
    assert_input_error(preprocess(tmp_path, content, '--train-splits', 'restval'), 'restval')
    assert_input_error(run_script('preprocess_vocab.py', tmp_path / 'none.json'), 'none.json')
    assert_input_error(run_script('preprocess_vocab.py'), 'required', '[SPLIT=]FILE')
    assert not (tmp_path / 'captions.h5').exists()


def test_captions_without_words_are_left_out(tmp_path):
    content = dataset()
    content['images'][2]['sentences'][1]['tokens'] = []
    content['images'][3]['sentences'] = []
    assert preprocess(tmp_path, content).returncode == 0
    captions = CaptionDataset.load(tmp_path / 'captions.h5')
    assert 3 not in captions.imgid
    assert numpy.bincount(captions.image).tolist() == [5, 5, 4] + 26 * [5]
    assert captions.lengths.all()


def test_statistics_match_plain_counting(tmp_path):
    preprocess(tmp_path, dataset(splits=('train', 'val', 'test')), '--min-count', 7)
    captions = CaptionDataset.load(tmp_path / 'captions.h5')
    for split, counts in captions.statistics().items():
        captions_of_split = [
            captions.tokens_of(caption)
            for caption, image in enumerate(captions.image)
            if SPLITS[captions.split[image]] == split
        ]
        assert counts == {
            'images': 10,
            'captions': 50,
            'tokens': sum(map(len, captions_of_split)),
            'unknown': int(sum(numpy.sum(tokens == UNK) for tokens in captions_of_split)),
            'longest': max(map(len, captions_of_split)),
        }
