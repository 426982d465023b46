"""Reading and writing captions in COCO's results format."""

import json

import numpy
import pytest

from lib.captions.annotations import read_dataset
from lib.captions.dataset import CaptionDataset
from lib.errors import InputError
from lib.evaluation.results_file import read_results, results_paths, write_results
from tests.helpers.samples import dataset, write_json

IDS, CAPTIONS = [7, 3], ['a dog', '']


def test_each_of_several_beam_widths_has_a_file():
    assert results_paths('a.b/r.json', [20]) == ['a.b/r.json']
    assert results_paths('a.b/r.json', [1, 3]) == ['a.b/r_beam1.json', 'a.b/r_beam3.json']
    assert results_paths('a.b/r', [1, 3]) == ['a.b/r_beam1', 'a.b/r_beam3']
    assert results_paths(None, [1, 3]) == [None, None]


@pytest.mark.parametrize('cider', [None, numpy.array([1.5, 0])])
def test_captions_are_read_as_they_were_written(tmp_path, cider):
    path = str(tmp_path / 'r.json')
    write_results(path, IDS, CAPTIONS, cider)
    assert read_results(path, IDS) == CAPTIONS
    assert read_results(path, IDS[::-1]) == CAPTIONS[::-1]
    results = json.loads((tmp_path / 'r.json').read_text())
    expected = {'image_id': 7, 'caption': 'a dog'}
    assert results[0] == (expected if cider is None else {**expected, 'CIDEr': 1.5})


def test_images_have_the_ids_of_coco_if_these_are_unique(tmp_path):
    content = dataset(n_images=4)

    def ids_of(cocoids, images):
        for image, cocoid in zip(content['images'], cocoids):
            image['cocoid'] = cocoid
        path = write_json(tmp_path / 'dataset.json', content)
        captions = CaptionDataset.from_images(read_dataset([str(path)]), min_count=1)
        return captions.ids_of(numpy.array(images))

    assert ids_of([50, 40, 30, 40], [0, 2]) == [50, 30]
    assert ids_of([50, 40, 30, 40], [1, 3]) == [1, 3]


@pytest.mark.parametrize(
    'content, message',
    [
        ('', 'not in COCO'),
        ('{}', 'has captions of other images'),
        ('[{"image_id": 3}]', 'not in COCO'),
        ('[{"image_id": 3, "caption": 4}]', 'not in COCO'),
        ('[{"image_id": 3, "caption": "a"}]', 'of other images: of 1, without 1 of the 2 images'),
        ('[[]]', 'not in COCO'),
        (r'[{"image_id": 3, "caption": "a \ud83d"}]', 'not in COCO.*not valid text'),
        ('[' * 100_000, 'not in COCO'),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / 'r.json').write_text(content)
    with pytest.raises(InputError, match=f'r.json: .*{message}'):
        read_results(str(tmp_path / 'r.json'), IDS)


def test_there_may_be_captions_of_more_images_and_ids_may_be_strings(tmp_path):
    path = str(tmp_path / 'r.json')
    write_results(path, [*IDS, 9], [*CAPTIONS, 'a cat'])
    assert read_results(path, IDS) == CAPTIONS
    write_results(path, [*map(str, IDS)], CAPTIONS)
    assert read_results(path, IDS) == CAPTIONS


def test_several_captions_of_an_image_are_refused(tmp_path):
    path = str(tmp_path / 'r.json')
    write_results(path, [*IDS, 3], [*CAPTIONS, 'a cat'])
    with pytest.raises(InputError, match=r'r.json: has several captions of image_id 3'):
        read_results(path, IDS)
