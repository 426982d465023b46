"""Reading data sets: Karpathy's, COCO's own annotations, and plain lists."""

import itertools
import json
import os
import re

from lib.errors import InputError
from lib.karpathy import SPLITS, CaptionedImage, check_text, parse_karpathy
from lib.tokens import tokenize


def read_datasets(names, unit='words'):
    """Reads one or more files as one data set.

    Args:
        names (list of str): Files, in one of these forms:

            * Karpathy's ``dataset.json``, which says the split of each picture;
            * COCO's annotations, such as ``captions_train2014.json``;
            * text in UTF-8 with a line ``file<TAB>caption`` for each caption; ``#0`` and so on
              after the file's name, as in Flickr30k's lists, is left out.

            Files that do not say the split are written ``SPLIT=FILE``, or have the split's name
            in their own.
        unit (str): What captions are split into, see :func:`lib.tokens.tokenize`. Karpathy's
            words are taken as they are.

    Returns:
        list of CaptionedImage: The pictures in the order of the files. ``imgid`` counts them,
        unless the data set is a ``dataset.json``, which numbers them itself.

    Raises:
        InputError: If a file cannot be read as one of these.
    """
    images, imgids = [], itertools.count()
    for name in names:
        split, path = _split_and_path(name)
        content = _read(path)
        if isinstance(content, dict) and 'annotations' not in content:
            if len(names) > 1:
                raise InputError(f'{path}: a dataset.json of Karpathy is a data set by itself; '
                                 'give it alone')
            return parse_karpathy(path, content, unit)
        captions_of = _coco_captions if isinstance(content, dict) else _listed_captions
        split = split or _split_in_name(path)
        for cocoid, filename, raw in captions_of(path, content):
            # Pictures are counted whether anything is left of their captions or not, so that
            # their numbers are the same for words and characters.
            imgid = next(imgids)
            captions = [(text, tokenize(text, unit)) for text in raw]
            captions = [(text, tokens) for text, tokens in captions if tokens]
            if captions:
                images.append(CaptionedImage(imgid, cocoid, filename, split,
                                             [tokens for _, tokens in captions],
                                             [text for text, _ in captions]))
    if not images:
        raise InputError(f'{", ".join(names)}: no captions in it')
    return images


def _split_and_path(name):
    split, separator, path = name.partition('=')
    return (split, path) if separator and split in SPLITS else (None, name)


def _split_in_name(path):
    found = [split for split in ('train', 'val', 'test')
             if split in os.path.basename(path).lower()]
    if len(found) != 1:
        raise InputError(f'{path}: which split is it? Write train={path}, val={path} or '
                         f'test={path}')
    return found[0]


def _read(path):
    """Returns the content of a JSON file, or the lines of any other."""
    try:
        with open(path, encoding='utf-8-sig') as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not a text file in UTF-8') from error
    if not path.lower().endswith('.json') and text.lstrip()[:1] != '{':
        return text.splitlines()
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f'{path}: not JSON, or cut short ({error})') from error
    except RecursionError as error:
        raise InputError(f'{path}: not a dataset.json, nested too deeply') from error
    if not isinstance(content, dict):
        raise InputError(f'{path}: not a dataset.json, nor annotations of COCO')
    return content


def _coco_captions(path, content):
    """Yields id, file name and captions of each picture of COCO's annotations."""
    try:
        names = {image['id']: image['file_name'] for image in content['images']}
        captions = {}
        for annotation in content['annotations']:
            captions.setdefault(annotation['image_id'], []).append(
                ' '.join(annotation['caption'].split()))
        for image, texts in captions.items():
            for text in (names[image], *texts):
                check_text(text)
            yield int(image), names[image], texts
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f'{path}: not annotations of COCO captions '
                         f'({type(error).__name__}: {error})') from error


def _listed_captions(path, lines):
    """Yields -1, file name and captions of each picture of a plain list."""
    captions = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, tab, text = line.partition('\t')
        if not tab:
            raise InputError(f'{path}: line {number}: no tab between file and caption')
        if '\0' in line:
            raise InputError(f'{path}: line {number}: holds a null character')
        captions.setdefault(re.sub(r'#\d+$', '', name.strip()), []).append(text.strip())
    for name, texts in captions.items():
        yield -1, name, texts
