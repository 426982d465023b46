"""The files that name the images of a data set and their captions, read as one data set."""

import itertools
import os
import re
import warnings
from collections import Counter, defaultdict

from lib.captions.readers import SPLITS, CaptionedImage, read_images
from lib.captions.tokenizer import tokenize
from lib.errors import InputError, InputWarning
from lib.files.image_names import without_suffix
from lib.files.text import check_text, to_nfc

# What files call the splits, in lower case.
SPLIT_NAMES = {split: split for split in SPLITS}
SPLIT_NAMES |= {'training': 'train', 'dev': 'val', 'valid': 'val', 'validation': 'val'}


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
    contents = []
    for file in files:
        split, path = parse_split(file)
        contents.append(
            (path, split, [_normalize(image, tokenizer) for image in read_images(path)])
        )
    split_of = _splits_in_lists(contents)
    images = []
    n_empty = 0
    for image, has_captions in _number(contents, split_of):
        image = _without_empty_captions(image)
        if image.raw or with_empty or not has_captions:
            images.append(image)
        else:
            n_empty += 1
    images = _with_splits(images, split_of)
    if not images:
        raise InputError(f'{", ".join(files)}: no captions found')
    _check_images(images)
    if not with_empty:
        _check_splits(images)
    if n_empty:
        note = f'left out, since they have no captions: {n_empty} images'
        warnings.warn(note, InputWarning, stacklevel=2)
    return images


def parse_split(file: str) -> tuple[str | None, str]:
    """Returns the split, None if there is none, and the path in ``SPLIT=FILE``."""
    split, separator, path = file.partition('=')
    return (split, path) if separator and split in SPLITS else (None, file)


def _normalize(image, tokenizer):
    """Returns an image with checked texts in normal form C, and with tokens."""
    try:
        check_text(image.filename)
        if not os.path.basename(image.filename):
            raise ValueError('has no file name')
        if not isinstance(image.raw, (list, tuple)):
            raise ValueError('its captions are not a list')
        for text in image.raw:
            check_text(text)
        raw = [to_nfc(text) for text in image.raw]
        if image.tokens is None or tokenizer != 'words':
            tokens = [tokenize(text, tokenizer) for text in raw]
        else:
            for words in image.tokens:
                if not isinstance(words, list) or not all(words):
                    raise ValueError(f'the tokens {words!r} are not a list of words')
                check_text(' '.join(words))
            tokens = [[to_nfc(word) for word in words] for words in image.tokens]
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f'{image.listed_in}: image {image.filename!r}: {error}') from error
    filename = os.path.normpath(to_nfc(image.filename))
    return image._replace(filename=filename, raw=raw, tokens=tokens)


def _splits_in_lists(contents):
    """Returns the split of each image that a list of the images of a split names.

    Such a list names images that other files have captions of, perhaps without their suffix.
    """
    captioned = {image.filename for _, _, images in contents for image in images if image.raw}
    names = {without_suffix(name): name for name in captioned} | {name: name for name in captioned}
    split_of = {}
    for path, split, images in contents:
        if any(image.raw for image in images):
            continue
        known = [names[image.filename] for image in images if image.filename in names]
        for name in known:
            of_list = split or _split_from_name(path)
            if split_of.setdefault(name, of_list) != of_list:
                raise InputError(f'{path}: {name} is also in a list of the split {split_of[name]}')
        if known and len(known) < len(images):
            note = (
                f'{path}: left out, since they have no captions: {len(images) - len(known)} images'
            )
            warnings.warn(note, InputWarning, stacklevel=3)
        if known:
            images.clear()
    return split_of


def _number(contents, split_of):
    """Yields each image with its number and split, and whether its file has captions.

    Images without tokens are numbered, too, which are left out for some tokenizers only.
    """
    numbers = itertools.count()
    for path, split, images in contents:
        has_captions = any(image.raw for image in images)
        for image in images:
            if image.imgid is None:
                image = image._replace(imgid=next(numbers))
            elif len(contents) > 1:
                raise InputError(f'{path}: numbers its images itself; give it alone')
            if not image.split:
                image = image._replace(split=split)
            elif split is not None:
                raise InputError(f'{path}: contains the splits; leave out "{split}="')
            yield image._replace(split=split_of.get(image.filename, image.split)), has_captions


def _without_empty_captions(image):
    if all(image.tokens):
        return image
    captions = [pair for pair in zip(image.tokens, image.raw) if pair[0]]
    return image._replace(
        tokens=[tokens for tokens, _ in captions], raw=[text for _, text in captions]
    )


def _with_splits(images, split_of):
    """Returns the images with their splits, without those that no list of a split names."""
    split_of_file = {
        path: None if split_of else _split_from_name(path)
        for path in {image.listed_in for image in images if image.split is None}
    }
    images = [
        image if image.split is not None else image._replace(split=split_of_file[image.listed_in])
        for image in images
    ]
    n_without = sum(image.split is None for image in images)
    if n_without:
        note = f'left out, since no list of a split names them: {n_without} images'
        warnings.warn(note, InputWarning, stacklevel=3)
    return [
        image._replace(split=SPLIT_NAMES.get(str(image.split).lower(), image.split))
        for image in images
        if image.split is not None
    ]


def _split_from_name(path):
    words = re.findall(r'[A-Z]?[a-z]+|[A-Z]+', os.path.basename(path))
    splits = {SPLIT_NAMES[word.lower()] for word in words if word.lower() in SPLIT_NAMES}
    if len(splits) != 1:
        raise InputError(
            f'{path}: cannot tell its split; write train={path}, val=... or test=..., or add lists '
            'of the images of each split, with the same names'
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
    """Checks that no split is half captioned, and notes images that are in it twice."""
    uncaptioned = {image.split: image for image in images if not image.raw}
    splits_of = defaultdict(list)
    for image in images:
        if image.raw and image.split in uncaptioned:
            without = uncaptioned[image.split]
            raise InputError(
                f'{without.listed_in}: {without.filename} has no captions, unlike other images of '
                f'the split "{image.split}"'
            )
        splits_of[image.filename].append(image.split)
    repeated = [name for name, splits in splits_of.items() if len(splits) > 1]
    if repeated:
        name = repeated[0]
        note = (
            f'images that are listed more than once: {len(repeated)}, such as {name} (in '
            f'{", ".join(splits_of[name])})'
        )
        warnings.warn(note, InputWarning, stacklevel=3)
