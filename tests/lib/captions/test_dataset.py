import numpy
import pytest

from lib.captions.dataset import ARRAYS, TEXTS, CaptionDataset
from lib.captions.readers import CaptionedImage

DOG_TOKENS, DOG_TEXTS = [['a', 'dog', 'runs'], ['the', 'dog']], ['A dog runs.', 'The dog']
IMAGES = [
    CaptionedImage(4, 581929, 'val2014/dog.jpg', 'train', DOG_TOKENS, DOG_TEXTS),
    CaptionedImage(0, -1, '猫.jpg', 'val', [['a', 'cat']], ['A cat!']),
    CaptionedImage(2, -1, 'x.jpg', 'restval', [['dog']], ['Dog']),
]
IMAGES_IN_CHARACTERS = [CaptionedImage(0, -1, 'a.jpg', 'train', [['走', 'る']], ['走る。'])]


@pytest.mark.parametrize(
    'images, tokenizer', [(IMAGES, 'words'), (IMAGES_IN_CHARACTERS, 'characters')]
)
def test_saved_data_set_loads_unchanged(tmp_path, images, tokenizer):
    dataset = CaptionDataset.from_images(images, min_count=1, tokenizer=tokenizer)
    dataset.save(tmp_path / 'captions.h5')
    loaded = CaptionDataset.load(tmp_path / 'captions.h5')
    assert loaded.vocabulary == dataset.vocabulary
    assert loaded.vocabulary.tokenizer == tokenizer
    for name in (*ARRAYS, *TEXTS):
        expected, actual = getattr(dataset, name), getattr(loaded, name)
        assert actual.dtype == expected.dtype, name
        assert actual.tolist() == expected.tolist(), name


def test_tokens_of_returns_the_indices_of_one_caption():
    dataset = CaptionDataset.from_images(IMAGES, min_count=1)
    captions = [tokens for image in IMAGES for tokens in image.tokens]
    for index, tokens in enumerate(captions):
        assert dataset.tokens_of(index).tolist() == dataset.vocabulary.encode(tokens)


def test_references_of_returns_the_raw_captions_of_images_in_the_order_given():
    dataset = CaptionDataset.from_images(IMAGES, min_count=1)
    references = dataset.references_of(numpy.array([2, 0, 1, 0]))
    assert references == [['Dog'], DOG_TEXTS, ['A cat!'], DOG_TEXTS]


def test_references_of_works_for_captions_in_any_order():
    dataset = CaptionDataset.from_images(IMAGES, min_count=1)
    dataset.image, dataset.raw = dataset.image[::-1], dataset.raw[::-1]
    assert dataset.references_of(numpy.array([0, 1])) == [DOG_TEXTS[::-1], ['A cat!']]
