"""Reading Karpathy's ``dataset.json``: Flickr8k, Flickr30k and COCO."""

import json
import os
from typing import NamedTuple

from lib.errors import InputError

import tqdm

SPLITS = ('train', 'val', 'test', 'restval')


class CaptionedImage(NamedTuple):
    """One picture of ``dataset.json``.

    Attributes:
        imgid (int): Its column in the features file.
        cocoid (int): Its id in COCO, -1 elsewhere.
        filename (str): Path below the folder of pictures.
        split (str): One of ``SPLITS``.
        captions (list): Its captions, each a list of words.
        raw (list of str): The same captions as they were written.
    """

    imgid: int
    cocoid: int
    filename: str
    split: str
    captions: list
    raw: list


def read_dataset(path):
    """Reads and checks a ``dataset.json``.

    Args:
        path (str): File to read.

    Returns:
        list of CaptionedImage: The pictures in the order of the file.

    Raises:
        InputError: If the file is not such a file; the message names the first bad picture.
    """
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not a text file in UTF-8') from error
    except json.JSONDecodeError as error:
        raise InputError(f'{path}: not JSON, or cut short ({error})') from error
    except RecursionError as error:
        raise InputError(f'{path}: not a dataset.json, nested too deeply') from error
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        raise InputError(f'{path}: not a dataset.json, its key "images" is missing or no list')
    if not content['images']:
        raise InputError(f'{path}: has no images')

    images, seen = [], set()
    for position, entry in enumerate(tqdm.tqdm(
            content['images'], desc='reading', unit='image', disable=None, leave=False)):
        try:
            image = _parse_image(entry)
            if image.imgid in seen:
                raise ValueError(f'imgid {image.imgid} is there twice')
        except ValueError as error:
            raise InputError(f'{path}: image {position}: {error}') from None
        seen.add(image.imgid)
        images.append(image)
    return images


def _parse_image(entry):
    imgid = _get(entry, 'imgid', int)
    if not 0 <= imgid < 2 ** 31:
        raise ValueError(f'imgid {imgid} is no column number')
    split = _get(entry, 'split', str)
    if split not in SPLITS:
        raise ValueError(f'unknown split "{split}" (known: {", ".join(SPLITS)})')
    sentences = _get(entry, 'sentences', list)
    if not sentences:
        raise ValueError(f'imgid {imgid} has no captions')
    captions = [_get(sentence, 'tokens', list) for sentence in sentences]
    for tokens in captions:
        if not tokens:
            raise ValueError(f'imgid {imgid} has an empty caption')
        if not all(isinstance(token, str) and token for token in tokens):
            raise ValueError(f'imgid {imgid} has a token that is not a word')
        _check_text(' '.join(tokens))
    return CaptionedImage(
        imgid, _get(entry, 'cocoid', int, default=-1),
        os.path.join(_get(entry, 'filepath', str, default=''), _get(entry, 'filename', str)),
        split, captions,
        [_get(sentence, 'raw', str, default=' '.join(tokens))
         for sentence, tokens in zip(sentences, captions)])


def _get(entry, key, kind, default=None):
    if not isinstance(entry, dict):
        raise ValueError(f'an object with the key "{key}" was expected')
    value = entry.get(key, default)
    if value is None:
        raise ValueError(f'the key "{key}" is missing')
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f'the value of "{key}" is no {kind.__name__}')
    if kind is str:
        _check_text(value)
    return value


def _check_text(text):
    """Refuses what JSON can hold but HDF5 cannot: lone surrogates and null characters."""
    if '\0' in text or (not text.isascii() and text != text.encode(errors='ignore').decode()):
        raise ValueError(f'{text!r} is no valid text')
