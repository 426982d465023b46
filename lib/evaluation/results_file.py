"""COCO's results format, a JSON list of captions of images."""

import json
import os

from lib.errors import InputError
from lib.files.input import read_utf8
from lib.files.output import write_json
from lib.files.text import check_text


def results_paths(path: str | None, beam_widths: list[int]) -> list[str | None]:
    """Returns the path of the captions of each beam width.

    Args:
        path (str): That of a single one; None if captions are not to be written.
        beam_widths (list of int): The beam widths.
    """
    if path is None or len(beam_widths) == 1:
        return [path] * len(beam_widths)
    return [add_to_name(path, f'beam{beam_width}') for beam_width in beam_widths]


def add_to_name(path: str, suffix: str) -> str:
    """Returns ``a/r_SUFFIX.json`` of ``a/r.json``."""
    stem, extension = os.path.splitext(path)
    return f'{stem}_{suffix}{extension}'


def write_results(path: str, image_ids: list[int], captions: list[str], cider=None):
    """Writes a caption of each of some images.

    Args:
        path (str): The file.
        image_ids (list of int): The images, see
            :meth:`lib.captions.dataset.CaptionDataset.ids_of`.
        captions (list of str): Their captions.
        cider (array): CIDEr of each caption, (n,), float64, which other programs ignore.
    """
    results = [
        {'image_id': image_id, 'caption': caption} for image_id, caption in zip(image_ids, captions)
    ]
    if cider is not None:
        results = [{**result, 'CIDEr': score} for result, score in zip(results, cider.tolist())]
    write_json(path, results)


def read_results(path: str, image_ids: list[int]) -> list[str]:
    """Reads a caption of each of some images.

    Args:
        path (str): A file such as :func:`write_results` writes:
            ``[{"image_id": 1, "caption": "a dog runs"}, ...]``. Ids may be strings, and there
            may be more images.
        image_ids (list of int): The images, see
            :meth:`lib.captions.dataset.CaptionDataset.ids_of`.

    Returns:
        list of str: The captions, in the order of the images.

    Raises:
        InputError: If the file cannot be read, lacks an image, or has several captions of one.
    """
    captions = {}
    try:
        for result in json.loads(read_utf8(path)):
            image_id = _to_id(result['image_id'])
            if image_id in captions:
                raise InputError(f'{path}: has several captions of image_id {image_id}')
            captions[image_id] = result['caption']
            check_text(result['caption'])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not in COCO's results format ({error})") from error
    missing = [image_id for image_id in image_ids if image_id not in captions]
    if missing:
        raise InputError(
            f'{path}: has captions of other images: of {len(captions)}, without {len(missing)} of '
            f'the {len(image_ids)} images to compare'
        )
    return [captions[image_id] for image_id in image_ids]


def _to_id(value):
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if type(value) is not int:
        raise ValueError(f'image_id {value!r} is not an integer')
    return value
