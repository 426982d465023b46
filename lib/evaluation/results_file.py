"""COCO's results format: a JSON list of captions of images."""

import json

from lib.errors import InputError
from lib.files import check_input


def read_results(path: str, image_ids: list[int]) -> list[str]:
    """Reads a caption of each of some images.

    Args:
        path (str): A file such as ``evaluate.py --json`` writes:
            ``[{"image_id": 1, "caption": "a dog runs"}, ...]``.
        image_ids (list of int): The images.

    Returns:
        list of str: The captions, in the order of the images.

    Raises:
        InputError: If the file cannot be read, or has captions of other images.
    """
    try:
        check_input(path)
        with open(path, encoding='utf-8') as file:
            results = json.load(file)
        captions = {result['image_id']: result['caption'] for result in results}
        if not all(isinstance(caption, str) for caption in captions.values()):
            raise TypeError('a caption is not a text')
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
