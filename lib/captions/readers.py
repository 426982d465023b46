"""Reading data sets: Karpathy's, COCO's own annotations, and plain lists.

To read another format, write a function like :func:`read_list` and add a line to :data:`READERS`.
"""

import itertools
import json
import os
import re
from collections import Counter
from typing import NamedTuple

import tqdm

from lib.captions.tokenizer import tokenize
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
        split (str): One of ``SPLITS``; None if the file does not say.
        tokens (list of list of str): The tokens of each caption; None if the captions have not been
            split.
        raw (list of str): The same captions as they were written.
    """

    imgid: int | None = None
    cocoid: int = -1
    filename: str = ''
    split: str | None = None
    tokens: list[list[str]] | None = None
    raw: list[str] = ()


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
        with_empty (bool): Also return the images whose captions have no token.

    Returns:
        list of CaptionedImage: The images in the order of the files. ``imgid`` numbers them
        in that order, except in a ``dataset.json``, which has its own.

    Raises:
        InputError: If a file is none of these.
    """
    images = []
    numbers = itertools.count()
    for file in files:
        split, path = parse_split(file)
        for image in _read_images(path):
            if image.imgid is None:
                # Also of images without any token, which are left out for some tokenizers only.
                image = image._replace(imgid=next(numbers))
            elif len(files) > 1:
                raise InputError(f'{path}: numbers its images itself; give it alone')
            if image.split is None:
                image = image._replace(split=split or _split_from_name(path))
            elif split is not None:
                raise InputError(f'{path}: contains the splits; leave out "{split}="')
            try:
                if image.tokens is None or tokenizer != 'words':
                    image = image._replace(tokens=[tokenize(text, tokenizer) for text in image.raw])
                check_image(image)
            except (ValueError, TypeError, AttributeError) as error:
                raise InputError(f'{path}: image {image.filename!r}: {error}') from error
            image = _without_empty_captions(image)
            if image.raw or with_empty:
                images.append(image)
    if not images:
        raise InputError(f'{", ".join(files)}: no captions found')
    (imgid, count), *_ = Counter(image.imgid for image in images).most_common(1)
    if count > 1:
        raise InputError(f'{files[0]}: imgid {imgid} occurs {count} times; number each image once')
    return images


def check_image(image):
    """Checks an image that was read from a data set, which anybody may have written.

    Raises:
        ValueError: If ``captions.h5`` cannot store it, or it has no file name.
    """
    check_text(image.filename)
    if not os.path.basename(image.filename):
        raise ValueError('has no file name')
    if image.split not in SPLITS:
        raise ValueError(f'unknown split "{image.split}"; must be one of {", ".join(SPLITS)}')
    for name, low, high in ('imgid', 0, 2**31 - 1), ('cocoid', -1, 2**63 - 1):
        value = getattr(image, name)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f'{name} {value!r} is not an integer from {low} to {high}')
    for tokens, text in zip(image.tokens, image.raw, strict=True):
        check_text(text)
        if not isinstance(tokens, list) or not all(tokens):
            raise ValueError(f'the tokens {tokens!r} are not a list of words')
        check_text(' '.join(tokens))


def check_text(text):
    """Checks that a value is text: JSON may contain lone surrogates and null characters.

    Raises:
        ValueError: If it is not.
    """
    is_valid = isinstance(text, str) and '\0' not in text
    if not is_valid or (not text.isascii() and text != text.encode(errors='ignore').decode()):
        raise ValueError(f'{text!r} is not valid text')


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


def _without_empty_captions(image):
    if all(image.tokens):
        return image
    captions = [pair for pair in zip(image.tokens, image.raw) if pair[0]]
    return image._replace(
        tokens=[tokens for tokens, _ in captions], raw=[text for _, text in captions]
    )


def _read_images(path):
    """Yields the images of a file, with what the file says of them."""
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
            yield image
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
        tokens = [sentence['tokens'] for sentence in entry['sentences']]
        yield CaptionedImage(
            imgid=entry['imgid'],
            cocoid=entry.get('cocoid', -1),
            filename=os.path.join(entry.get('filepath', ''), entry['filename']),
            split=entry['split'],
            tokens=tokens,
            raw=[
                sentence.get('raw', '').strip() or ' '.join(words)
                for sentence, words in zip(entry['sentences'], tokens)
            ],
        )


def read_coco(content):
    """Yields the images in COCO's annotations that have captions."""
    names = {image['id']: image['file_name'] for image in content['images']}
    captions = {}
    for annotation in content['annotations']:
        text = ' '.join(annotation['caption'].split())
        captions.setdefault(annotation['image_id'], []).append(text)
    for image_id, texts in captions.items():
        yield CaptionedImage(cocoid=image_id, filename=names[image_id], raw=texts)


def read_list(content):
    """Yields the images of a list with a line of file, tab and caption for each caption."""
    captions = {}
    for number, line in enumerate(content.split('\n'), start=1):  # splitlines() would split more
        if line.strip():
            name, tab, text = line.partition('\t')
            if not tab:
                raise ValueError(f'line {number}: no tab between file and caption')
            name = re.sub(r'#\d+$', '', name.strip())
            captions.setdefault(name, []).append(text.strip())
    for name, texts in captions.items():
        yield CaptionedImage(filename=name, raw=texts)


# Of each format, whether content is of it, and what reads it. Content is what a JSON file holds,
# or the text of any other file; the first format that fits is taken.
READERS = {
    "COCO's caption annotations": (
        lambda content: isinstance(content, dict) and 'annotations' in content, read_coco,
    ),
    "Karpathy's dataset.json": (lambda content: isinstance(content, dict), read_karpathy),
    'a list of files and captions': (lambda content: isinstance(content, str), read_list),
}  # fmt: skip
