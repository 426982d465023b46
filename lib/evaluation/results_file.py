"""COCO's results format, a JSON list of captions of images; and the scores beside such files."""

import json
import os

from lib.captions.captioned_image import check_text
from lib.errors import InputError
from lib.files.input import check_input
from lib.files.output import write_json


def results_paths(path: str, beam_widths: list[int]) -> list[str]:
    """Returns the paths of the captions of each beam width.

    Args:
        path (str): That of a single one.
        beam_widths (list of int): The beam widths.
    """
    if len(beam_widths) == 1:
        return [path]
    return [_add_to_name(path, f'beam{beam_width}') for beam_width in beam_widths]


def scores_path(path: str) -> str:
    """Returns the path of the scores of captions."""
    return _add_to_name(path, 'scores')


def _add_to_name(path, suffix):
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
            ``[{"image_id": 1, "caption": "a dog runs"}, ...]``.
        image_ids (list of int): The images, see
            :meth:`lib.captions.dataset.CaptionDataset.ids_of`.

    Returns:
        list of str: The captions, in the order of the images.

    Raises:
        InputError: If the file cannot be read, has captions of other images, or several of one.
    """
    try:
        check_input(path)
        with open(path, encoding='utf-8') as file:
            results = json.load(file)
        captions = {}
        for result in results:
            image_id, caption = result['image_id'], result['caption']
            if not isinstance(caption, str):
                raise TypeError('a caption is not a text')
            check_text(caption)
            if image_id in captions:
                raise InputError(f'{path}: has several captions of image_id {image_id}')
            captions[image_id] = caption
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not in COCO's results format ({error})") from error
    missing = [image_id for image_id in image_ids if image_id not in captions]
    if missing or len(captions) > len(image_ids):
        raise InputError(
            f'{path}: has captions of other images: of {len(captions)}, without {len(missing)} of '
            f'the {len(image_ids)} images to compare'
        )
    return [captions[image_id] for image_id in image_ids]
