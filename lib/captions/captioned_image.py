"""An image of a data set with its reference captions, as all readers return it."""

from typing import NamedTuple

SPLITS = ('train', 'val', 'test', 'restval')


class CaptionedImage(NamedTuple):
    """An image and the captions that people wrote for it.

    Attributes:
        imgid (int): Row of its features in memory, column in Karpathy's file.
        cocoid (int): COCO's id of the image, -1 elsewhere.
        filename (str): Path below the folder of images.
        split (str): One of ``SPLITS``.
        tokens (list of list of str): The tokens of each caption.
        raw (list of str): The same captions as they were written.
    """

    imgid: int
    cocoid: int
    filename: str
    split: str
    tokens: list[list[str]]
    raw: list[str]


def check_cocoid(cocoid) -> int:
    """Returns an image's id in COCO, or -1, if that is what it is.

    Raises:
        ValueError: If it is not an integer, or ``captions.h5`` cannot store it.
    """
    if type(cocoid) is not int or not -1 <= cocoid < 2**63:
        raise ValueError(f'the id {cocoid!r} is not an integer from -1 to {2**63 - 1}')
    return cocoid


def check_text(text):
    """Checks that HDF5 can store a string: JSON may contain lone surrogates and nulls.

    Raises:
        ValueError: If it cannot.
    """
    if '\0' in text or (not text.isascii() and text != text.encode(errors='ignore').decode()):
        raise ValueError(f'{text!r} is not valid text')
