"""Karpathy's ``dataset.json``: Flickr8k, Flickr30k and COCO."""

import os

import tqdm

from lib.captions.captioned_image import SPLITS, CaptionedImage, check_cocoid, check_text
from lib.captions.tokenizer import tokenize
from lib.errors import InputError


def parse_karpathy(path, content, tokenizer='words'):
    """Checks the content of a ``dataset.json`` and converts it.

    Args:
        path (str): The file, for error messages.
        content: The parsed JSON.
        tokenizer (str): With ``'words'`` the tokens in the file are used; otherwise the
            captions as they were written are split by :func:`lib.captions.tokenizer.tokenize`.

    Returns:
        list of CaptionedImage: The images in the order of the file.

    Raises:
        InputError: If the content is not a ``dataset.json``; names the first invalid image.
    """
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        raise InputError(f'{path}: not a dataset.json; its key "images" must hold a list')
    if not content['images']:
        raise InputError(f'{path}: has no images')

    images, imgids = [], set()
    progress = tqdm.tqdm(content['images'], desc='reading', unit='image', disable=None, leave=False)
    for position, entry in enumerate(progress):
        try:
            image = _parse_image(entry, tokenizer)
            if image.imgid in imgids:
                raise ValueError(f'imgid {image.imgid} occurs twice')
        except ValueError as error:
            raise InputError(f'{path}: image {position}: {error}') from None
        imgids.add(image.imgid)
        images.append(image)
    return images


def _parse_image(entry, tokenizer):
    imgid = _get(entry, 'imgid', int)
    if not 0 <= imgid < 2**31:
        raise ValueError(f'imgid {imgid} is not between 0 and 2147483647')
    split = _get(entry, 'split', str)
    if split not in SPLITS:
        raise ValueError(f'unknown split "{split}"; must be one of {", ".join(SPLITS)}')
    sentences = _get(entry, 'sentences', list)
    if not sentences:
        raise ValueError(f'imgid {imgid} has no captions')
    tokens = [_parse_tokens(sentence, imgid) for sentence in sentences]
    raw = [
        _get(sentence, 'raw', str, default='').strip() or ' '.join(words)
        for sentence, words in zip(sentences, tokens)
    ]
    if tokenizer != 'words':
        tokens = [tokenize(text, tokenizer) for text in raw]
        if not all(tokens):
            raise ValueError(f'imgid {imgid} has a caption without {tokenizer}')
    folder, name = _get(entry, 'filepath', str, default=''), _get(entry, 'filename', str)
    if not name:
        raise ValueError(f'imgid {imgid} has no file name')
    cocoid = check_cocoid(entry.get('cocoid', -1))
    return CaptionedImage(imgid, cocoid, os.path.join(folder, name), split, tokens, raw)


def _parse_tokens(sentence, imgid):
    tokens = _get(sentence, 'tokens', list)
    if not tokens:
        raise ValueError(f'imgid {imgid} has an empty caption')
    if not all(isinstance(token, str) and token for token in tokens):
        raise ValueError(f'imgid {imgid} has a token that is not a non-empty string')
    check_text(' '.join(tokens))
    return tokens


def _get(entry, key, expected_type, default=None):
    if not isinstance(entry, dict):
        raise ValueError(f'expected an object with the key "{key}"')
    value = entry.get(key, default)
    if value is None:
        raise ValueError(f'the key "{key}" is missing')
    if not isinstance(value, expected_type) or isinstance(value, bool):
        raise ValueError(f'the value of "{key}" must be of type {expected_type.__name__}')
    if expected_type is str:
        check_text(value)
    return value
