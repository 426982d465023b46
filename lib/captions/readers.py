"""Reading data sets: Karpathy's, COCO's own annotations, and plain lists."""

import itertools
import json
import os
import re

from lib.captions.captioned_image import SPLITS, CaptionedImage, check_cocoid, check_text
from lib.captions.karpathy import parse_karpathy
from lib.captions.tokenizer import tokenize
from lib.errors import InputError
from lib.files.output import check_input


def read_dataset(
    files: list[str], tokenizer: str = 'words', with_empty: bool = False
) -> list[CaptionedImage]:
    """Reads one or more files as one data set.

    Args:
        files (list of str): Any of these:

            * Karpathy's ``dataset.json``, alone, which contains the splits;
            * COCO's annotations, such as ``captions_train2014.json``;
            * UTF-8 text with a line ``file<TAB>caption`` for each caption. A suffix like
              ``#0`` of the file's name, as in Flickr30k's lists, is ignored.

            For a file that does not contain the split, write ``SPLIT=FILE`` or name the split
            in the file's name.
        tokenizer (str): See :func:`lib.captions.tokenizer.tokenize`. Words in a
            ``dataset.json`` are used as they are.
        with_empty (bool): Also return the images whose captions have no token. A
            ``dataset.json`` numbers its images itself, so it needs none of them.

    Returns:
        list of CaptionedImage: The images in the order of the files. ``imgid`` numbers them
        in that order, except in a ``dataset.json``, which has its own.

    Raises:
        InputError: If a file is none of these.
    """
    images, imgids = [], itertools.count()
    for file in files:
        split, path = parse_split(file)
        content = _read(path)
        if isinstance(content, dict) and 'annotations' not in content:
            if split is not None:
                raise InputError(f'{path}: contains the splits; leave out "{split}="')
            if len(files) > 1:
                raise InputError(
                    f"{path}: Karpathy's dataset.json is a complete data set; give it alone"
                )
            return parse_karpathy(path, content, tokenizer)
        parse = _parse_coco if isinstance(content, dict) else _parse_list
        split = split or _split_from_name(path)
        for cocoid, filename, raw in parse(path, content):
            # Images without any token are numbered, too, so that the numbers do not depend on
            # the tokenizer.
            imgid = next(imgids)
            captions = [(tokenize(text, tokenizer), text) for text in raw]
            captions = [(tokens, text) for tokens, text in captions if tokens]
            if captions or with_empty:
                tokens, texts = ([pair[k] for pair in captions] for k in range(2))
                images.append(CaptionedImage(imgid, cocoid, filename, split, tokens, texts))
    if not images:
        raise InputError(f'{", ".join(files)}: no captions found')
    return images


def parse_split(file: str) -> tuple[str | None, str]:
    """Returns the split, None if there is none, and the path in ``SPLIT=FILE``."""
    split, separator, path = file.partition('=')
    return (split, path) if separator and split in SPLITS else (None, file)


def _split_from_name(path):
    splits = [
        split for split in ('train', 'val', 'test') if split in os.path.basename(path).lower()
    ]
    if len(splits) != 1:
        raise InputError(
            f'{path}: cannot tell its split; write train={path}, val={path} or test={path}'
        )
    return splits[0]


def _read(path):
    """Returns the content of a JSON file, or the lines of any other."""
    try:
        check_input(path)
        with open(path, encoding='utf-8-sig') as file:
            text = file.read()
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not a text file in UTF-8') from error
    if not path.lower().endswith('.json') and text.lstrip()[:1] != '{':
        return text.split('\n')  # splitlines() would split at more characters
    try:
        content = json.loads(text)
    except ValueError as error:  # JSONDecodeError, or an integer of thousands of digits
        raise InputError(f'{path}: not JSON, or cut short ({error})') from error
    except RecursionError as error:
        raise InputError(f'{path}: not a dataset.json; nested too deeply') from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: neither a dataset.json nor COCO's annotations")
    return content


def _parse_coco(path, content):
    """Yields id, file name and captions of each image in COCO's annotations."""
    try:
        names = {check_cocoid(image['id']): image['file_name'] for image in content['images']}
        captions = {}
        for annotation in content['annotations']:
            captions.setdefault(check_cocoid(annotation['image_id']), []).append(
                ' '.join(annotation['caption'].split())
            )
        for image_id, texts in captions.items():
            for text in (names[image_id], *texts):
                check_text(text)
            if not names[image_id]:
                raise ValueError(f'image {image_id} has no file name')
            yield image_id, names[image_id], texts
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path}: not COCO's caption annotations ({type(error).__name__}: {error})"
        ) from error


def _parse_list(path, lines):
    """Yields -1, file name and captions of each image in a plain list."""
    captions = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, tab, text = line.partition('\t')
        if not tab:
            raise InputError(f'{path}: line {number}: no tab between file and caption')
        if '\0' in line:
            raise InputError(f'{path}: line {number}: contains a null character')
        name = re.sub(r'#\d+$', '', name.strip())
        if not name:
            raise InputError(f'{path}: line {number}: no file before the tab')
        captions.setdefault(name, []).append(text.strip())
    for name, texts in captions.items():
        yield -1, name, texts
