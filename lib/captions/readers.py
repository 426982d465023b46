"""The formats of data sets: Karpathy's, COCO's, neuraltalk2's, and lists of images and captions.

To read another format, write a function like :func:`read_coco` and add a line to :data:`READERS`.
"""

import json
import os
from typing import NamedTuple

import tqdm

from lib.captions.lists import is_list_of_images, parse_list, without_number
from lib.errors import InputError
from lib.files.input import read_utf8

SPLITS = ('train', 'val', 'test', 'restval')


class CaptionedImage(NamedTuple):
    """An image and the captions that people wrote for it.

    Attributes:
        imgid (int): Row of its features in memory, column in Karpathy's file; None if the data set
            does not number its images.
        cocoid (int): COCO's id of the image, -1 elsewhere.
        filename (str): Path below the folder of images.
        split (str): One of :data:`SPLITS`; None if the file does not say.
        tokens (list of list of str): The tokens of each caption; None if the captions have not been
            split.
        raw (list of str): The same captions as they were written.
        listed_in (str): Path of the file that describes the image.
    """

    imgid: int | None = None
    cocoid: int = -1
    filename: str = ''
    split: str | None = None
    tokens: list[list[str]] | None = None
    raw: list[str] = ()
    listed_in: str = ''


def read_images(path):
    """Yields the images of a file of any format, with what the file says of them.

    Raises:
        InputError: If the file cannot be read, or has none of the formats.
    """
    content = _read_content(path)
    formats = [name for name, (is_of_format, _) in READERS.items() if is_of_format(content)]
    if not formats:
        raise InputError(f'{path}: not one of {", ".join(READERS)}')
    name = formats[0]
    _, read = READERS[name]
    n_read = 0
    try:
        images = read(content)
        for image in tqdm.tqdm(images, desc='reading', unit='image', disable=None, leave=False):
            yield image._replace(listed_in=path)
            n_read += 1
    except ValueError as error:
        raise InputError(f'{path}: not {name}: {error}') from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{path}: not {name}: after {n_read} images: {type(error).__name__}: {error}'
        ) from error


def _read_content(path):
    """Returns the content of a JSON file, or the text of any other."""
    text = read_utf8(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # or an integer of thousands of digits
        if path.lower().endswith('.json'):
            raise InputError(f'{path}: not JSON, or cut short ({error})') from error
        return text


def read_karpathy(content):
    """Yields the images of Karpathy's ``dataset.json``: Flickr8k, Flickr30k and COCO."""
    for entry in content['images']:
        sentences = entry['sentences']
        tokens = [sentence['tokens'] for sentence in sentences]
        yield CaptionedImage(
            imgid=entry['imgid'],
            cocoid=entry.get('cocoid', -1),
            filename=os.path.join(entry.get('filepath', ''), entry['filename']),
            split=entry['split'],
            tokens=tokens,
            raw=[
                sentence.get('raw', '').strip() or ' '.join(words)
                for sentence, words in zip(sentences, tokens)
            ],
        )


def read_coco(content):
    """Yields the images of COCO's annotations, in the order of its ``images``."""
    captions = {image['id']: [] for image in content['images']}
    if len(captions) < len(content['images']):
        raise ValueError('several images have the same id')
    for annotation in content.get('annotations', ()):
        if annotation['image_id'] not in captions:
            raise ValueError(f'image_id {annotation["image_id"]!r} is not among the images')
        if not isinstance(annotation['caption'], str):
            raise ValueError(f'a caption of image_id {annotation["image_id"]!r} is not text')
        captions[annotation['image_id']].append(' '.join(annotation['caption'].split()))
    for image in content['images']:
        yield CaptionedImage(
            cocoid=image['id'], filename=image['file_name'], raw=captions[image['id']]
        )


def read_neuraltalk2(content):
    """Yields the images of neuraltalk2's ``coco_raw.json``."""
    for entry in content:
        yield CaptionedImage(
            cocoid=entry.get('id', -1),
            filename=entry['file_path'],
            split=entry.get('split'),
            raw=entry['captions'],
        )


def read_list(content):
    """Yields the images of a list of captions, see :mod:`lib.captions.lists`."""
    captions = {}
    for name, text, split in parse_list(content):
        captions.setdefault((name, split), []).append(text)
    for (name, split), texts in captions.items():
        yield CaptionedImage(filename=name, split=split, raw=texts)


def read_list_of_images(content):
    """Yields the images of a list without captions, a name on each line."""
    for line in content.split('\n'):
        if line.strip():
            yield CaptionedImage(filename=without_number(line))


def _first(entries):
    """Returns the first entry of a list of objects, an empty one if it is none."""
    entry = entries[0] if isinstance(entries, list) and entries else {}
    return entry if isinstance(entry, dict) else {}


# Of each format, whether content is of it, and what reads it. Content is what a JSON file holds,
# or the text of any other file; the first format that fits is taken.
READERS = {
    "COCO's caption annotations": (
        lambda content: isinstance(content, dict)
        and ('annotations' in content or 'file_name' in _first(content.get('images'))),
        read_coco,
    ),
    "Karpathy's dataset.json": (lambda content: isinstance(content, dict), read_karpathy),
    "neuraltalk2's coco_raw.json": (
        lambda content: 'file_path' in _first(content), read_neuraltalk2,
    ),
    'a list of images': (
        lambda content: isinstance(content, str) and is_list_of_images(content),
        read_list_of_images,
    ),
    'a list of images and captions': (lambda content: isinstance(content, str), read_list),
}  # fmt: skip
