"""An image of a data set with its reference captions, as all readers return it."""

import os
from typing import NamedTuple

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
