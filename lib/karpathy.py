"""Karpathy's ``dataset.json``: Flickr8k, Flickr30k and COCO."""

import os
from typing import NamedTuple

from lib.errors import InputError
from lib.tokens import tokenize

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


def parse_karpathy(path, content, unit='words'):
    """Checks the content of a ``dataset.json``.

    Args:
        path (str): Where it comes from, for messages.
        content: What JSON made of the file.
        unit (str): What captions are split into: ``'words'``, which the file holds, or else
            what :func:`lib.tokens.tokenize` makes of the captions as they were written.

    Returns:
        list of CaptionedImage: The pictures in the order of the file.

    Raises:
        InputError: If the file is not such a file; the message names the first bad picture.
    """
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        raise InputError(f'{path}: not a dataset.json, its key "images" is missing or no list')
    if not content['images']:
        raise InputError(f'{path}: has no images')

    images, seen = [], set()
    for position, entry in enumerate(tqdm.tqdm(
            content['images'], desc='reading', unit='image', disable=None, leave=False)):
        try:
            image = _parse_image(entry, unit)
            if image.imgid in seen:
                raise ValueError(f'imgid {image.imgid} is there twice')
        except ValueError as error:
            raise InputError(f'{path}: image {position}: {error}') from None
        seen.add(image.imgid)
        images.append(image)
    return images


def _parse_image(entry, unit):
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
        check_text(' '.join(tokens))
    raw = [_get(sentence, 'raw', str, default=' '.join(tokens))
           for sentence, tokens in zip(sentences, captions)]
    if unit != 'words':
        captions = [tokenize(text, unit) for text in raw]
    return CaptionedImage(
        imgid, _get(entry, 'cocoid', int, default=-1),
        os.path.join(_get(entry, 'filepath', str, default=''), _get(entry, 'filename', str)),
        split, captions, raw)


def _get(entry, key, kind, default=None):
    if not isinstance(entry, dict):
        raise ValueError(f'an object with the key "{key}" was expected')
    value = entry.get(key, default)
    if value is None:
        raise ValueError(f'the key "{key}" is missing')
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f'the value of "{key}" is no {kind.__name__}')
    if kind is str:
        check_text(value)
    return value


def check_text(text):
    """Refuses what JSON can hold but HDF5 cannot: lone surrogates and null characters."""
    if '\0' in text or (not text.isascii() and text != text.encode(errors='ignore').decode()):
        raise ValueError(f'{text!r} is no valid text')
