"""The files that name the images of a data set and their captions, read as one data set."""

import itertools
import os
import unicodedata
import warnings
from collections import Counter, defaultdict

from lib.captions.readers import SPLITS, CaptionedImage, read_images
from lib.captions.tokenizer import tokenize
from lib.errors import InputError, InputWarning
from lib.files.image_names import without_suffix

# What names of files call each split; those of the paper's authors say "dev".
SPLIT_NAMES = {'train': 'train', 'val': 'val', 'dev': 'val', 'test': 'test'}


def read_dataset(
    files: list[str], tokenizer: str = 'words', with_empty: bool = False
) -> list[CaptionedImage]:
    """Reads one or more files as one data set.

    Args:
        files (list of str): Files in the formats of :data:`lib.captions.readers.READERS`. For one
            that does not contain the split, write ``SPLIT=FILE`` or name the split in the file's
            name; or add lists of images, one for each split.
        tokenizer (str): See :func:`lib.captions.tokenizer.tokenize`. Words in a
            ``dataset.json`` are used as they are.
        with_empty (bool): Also return the images whose captions have no token.

    Returns:
        list of CaptionedImage: The images in the order of the files. ``imgid`` numbers them
        in that order, except in a ``dataset.json``, which has its own. All texts are in Unicode's
        normal form C. Only images of a file without any caption have none.

    Raises:
        InputError: If a file is none of these, or files contradict each other.
    """
    parsed = [parse_split(file) for file in files]
    contents = [[_normalize(image, tokenizer) for image in read_images(path)] for _, path in parsed]
    captioned = {_key(image) for images in contents for image in images if image.raw}
    numbers = itertools.count()
    images = []
    split_of = {}
    for (split, path), content in zip(parsed, contents):
        has_captions = any(image.raw for image in content)
        for image in content:
            if not has_captions and _key(image) in captioned:
                split_of[_key(image)] = split or _split_from_name(path)
                continue
            # Also images without tokens are numbered, which are left out for some tokenizers only.
            if image.imgid is None:
                image = image._replace(imgid=next(numbers))
            elif len(files) > 1:
                raise InputError(f'{path}: numbers its images itself; give it alone')
            if image.split is None:
                image = image._replace(split=split)
            elif split is not None:
                raise InputError(f'{path}: contains the splits; leave out "{split}="')
            image = _without_empty_captions(image)
            if image.raw or with_empty or not has_captions:
                images.append(image)
    if not images:
        raise InputError(f'{", ".join(files)}: no captions found')
    images = _with_splits(images, split_of)
    _check_images(images)
    if not with_empty:
        _check_splits(images)
    return images


def parse_split(file: str) -> tuple[str | None, str]:
    """Returns the split, None if there is none, and the path in ``SPLIT=FILE``."""
    split, separator, path = file.partition('=')
    return (split, path) if separator and split in SPLITS else (None, file)


def check_text(text):
    """Checks that a text can be stored: a string without lone surrogates and null characters.

    Raises:
        ValueError: If it is not.
    """
    is_valid = isinstance(text, str) and '\0' not in text
    if not is_valid or (not text.isascii() and text != text.encode(errors='ignore').decode()):
        raise ValueError(f'{text!r} is not valid text')


def _normalize(image, tokenizer):
    """Returns an image with checked texts in normal form C, and with tokens."""
    try:
        check_text(image.filename)
        if not os.path.basename(image.filename):
            raise ValueError('has no file name')
        for text in image.raw:
            check_text(text)
        raw = [_to_nfc(text) for text in image.raw]
        if image.tokens is None or tokenizer != 'words':
            tokens = [tokenize(text, tokenizer) for text in raw]
        else:
            for words in image.tokens:
                if not isinstance(words, list) or not all(words):
                    raise ValueError(f'the tokens {words!r} are not a list of words')
                check_text(' '.join(words))
            tokens = [[_to_nfc(word) for word in words] for words in image.tokens]
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f'{image.listed_in}: image {image.filename!r}: {error}') from error
    return image._replace(filename=_to_nfc(image.filename), raw=raw, tokens=tokens)


def _to_nfc(text):
    return unicodedata.normalize('NFC', text)


def _key(image):
    """Returns what an image is known by in lists of the images of a split."""
    return without_suffix(image.filename)


def _without_empty_captions(image):
    if all(image.tokens):
        return image
    captions = [pair for pair in zip(image.tokens, image.raw) if pair[0]]
    return image._replace(
        tokens=[tokens for tokens, _ in captions], raw=[text for _, text in captions]
    )


def _with_splits(images, split_of):
    """Returns images with their splits: that of a list of images, or of the file they are in."""
    split_of_file = {
        path: None if split_of else _split_from_name(path)
        for path in {image.listed_in for image in images if image.split is None}
    }
    images = [
        image._replace(
            split=split_of.get(_key(image)) or image.split or split_of_file[image.listed_in]
        )
        for image in images
    ]
    n_without = sum(image.split is None for image in images)
    if n_without:
        note = f'{n_without} images are in none of the lists of splits, and left out'
        warnings.warn(note, InputWarning, stacklevel=3)
    return [image for image in images if image.split is not None]


def _split_from_name(path):
    name = os.path.basename(path).lower()
    splits = {split for part, split in SPLIT_NAMES.items() if part in name}
    if len(splits) != 1:
        raise InputError(
            f'{path}: cannot tell its split; write train={path}, val=... or test=..., or add lists '
            'of the images of each split; --val-size moves some training images to val'
        )
    return splits.pop()


def _check_images(images):
    """Checks the numbers and splits of images, which anybody may have written."""
    for image in images:
        where = f'{image.listed_in}: image {image.filename!r}:'
        if image.split not in SPLITS:
            raise InputError(
                f'{where} unknown split "{image.split}"; must be one of {", ".join(SPLITS)}'
            )
        for name, low, high in ('imgid', 0, 2**31 - 1), ('cocoid', -1, 2**63 - 1):
            value = getattr(image, name)
            if type(value) is not int or not low <= value <= high:
                raise InputError(f'{where} {name} {value!r} is not an integer from {low} to {high}')
    (imgid, count), *_ = Counter(image.imgid for image in images).most_common(1)
    if count > 1:
        raise InputError(
            f'{images[0].listed_in}: imgid {imgid} occurs {count} times; number each image once'
        )


def _check_splits(images):
    """Checks what the splits contain."""
    uncaptioned = {image.split: image for image in images if not image.raw}
    for image in images:
        if image.raw and image.split in uncaptioned:
            other = uncaptioned[image.split]
            raise InputError(
                f'{other.listed_in}: {other.filename} has no captions, unlike other images of the '
                f'split "{image.split}"'
            )
    splits_of = defaultdict(set)
    for image in images:
        splits_of[image.filename].add(image.split)
    shared = [name for name, splits in splits_of.items() if len(splits) > 1]
    if shared:
        note = f'{len(shared)} images are in several splits, such as {shared[0]}'
        warnings.warn(note, InputWarning, stacklevel=4)
