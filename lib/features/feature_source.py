"""How features were extracted."""

import json
import os
import warnings
from dataclasses import dataclass, field

from lib.errors import InputError, InputWarning

# Pixels; larger than the input of any CNN in use.
MAX_IMAGE_SIZE = 2048
RESIZE_MODES = 'warp', 'crop'
INTERPOLATIONS = 'bilinear', 'bicubic'
CHANNELS = 'BGR', 'RGB'
POOLING_MODES = 'none', 'average', 'max', 'first'
AUGMENTATIONS = 'none', 'flip'
# What becomes of the vectors that several files have of an image.
COMBINATIONS = 'concatenate', 'average'
# Between the names of several layers.
LAYER_SEPARATOR = '+'
# How images are prepared for well-known networks.
PREPARATIONS = {
    'caffe': {
        'channels': 'BGR',
        'mean': [103.939, 116.779, 123.68],
        'std': [1.0, 1.0, 1.0],
        'interpolation': 'bilinear',
    },
    'imagenet': {
        'channels': 'RGB',
        'mean': [123.675, 116.28, 103.53],
        'std': [58.395, 57.12, 57.375],
        'interpolation': 'bilinear',
    },
    'clip': {
        'channels': 'RGB',
        'mean': [122.7709383, 116.7460125, 104.09373615],
        'std': [68.5005327, 66.6321579, 70.3231631],
        'interpolation': 'bicubic',
    },
    'efficientnet-lite': {
        'channels': 'RGB',
        'mean': [127.0, 127.0, 127.0],
        'std': [128.0, 128.0, 128.0],
        'interpolation': 'bicubic',
    },
}


@dataclass
class FeatureSource:
    """How features were extracted; those of new images must be extracted the same way.

    Attributes:
        network (str): File name of the CNN.
        layer (str): The tensor or blob whose values are the features; or several, such as
            ``'pool10+fire9/concat'``, whose values are concatenated.
        image_size (int): Width and height of the network's input, pixels.
        mean (list of float): Subtracted from the three channels, in [0, 255].
        resize (str): ``'warp'`` or ``'crop'``, see :func:`lib.features.images.prepare_image`.
        pool (str): What becomes of tensors with height and width, or of those with tokens, (N,
            tokens, C): their ``'average'`` or ``'max'``, the ``'first'`` token, or all of their
            values (``'none'``).
        augment (str): ``'flip'`` averages the features of the image and of its mirror image.
        channels (str): The order of the channels, ``'BGR'`` or ``'RGB'``.
        std (list of float): What the three channels are divided by.
        interpolation (str): How images are resized, ``'bilinear'`` or ``'bicubic'``.

    Raises:
        InputError: If no feature can be extracted like that.
    """

    network: str
    layer: str
    image_size: int
    mean: list[float]
    resize: str
    pool: str = 'none'
    augment: str = 'none'
    channels: str = 'BGR'
    std: tuple[float, float, float] | list[float] = (1.0, 1.0, 1.0)
    interpolation: str = 'bilinear'

    def __post_init__(self):
        if not 0 < self.image_size <= MAX_IMAGE_SIZE:
            raise InputError(
                f'{self.image_size} is not from 1 to {MAX_IMAGE_SIZE}', option='image_size'
            )
        self.mean = [float(value) for value in self.mean]
        if len(self.mean) != 3 or not all(0 <= value <= 255 for value in self.mean):
            raise InputError(f'{self.mean}: must be three numbers from 0 to 255', option='mean')
        self.std = [float(value) for value in self.std]
        if len(self.std) != 3 or not all(0 < value <= 255 for value in self.std):
            raise InputError(f'{self.std}: must be three numbers above 0, up to 255', option='std')
        for name, choices in (
            ('resize', RESIZE_MODES),
            ('pool', POOLING_MODES),
            ('augment', AUGMENTATIONS),
            ('channels', CHANNELS),
            ('interpolation', INTERPOLATIONS),
        ):
            if getattr(self, name) not in choices:
                raise InputError(
                    f'{getattr(self, name)} is not {" or ".join(choices)}', option=name
                )

    @staticmethod
    def to_json(source: 'FeatureSource | ExternalSource | None') -> str:
        return json.dumps(source and vars(source))

    @staticmethod
    def from_json(text: str) -> 'FeatureSource | ExternalSource | None':
        """Converts what :meth:`to_json` returned.

        Raises:
            ValueError: If it is something else.
        """
        fields = json.loads(text)
        if fields is None:
            return None
        try:
            return ExternalSource(**fields) if 'files' in fields else FeatureSource(**fields)
        except (InputError, TypeError) as error:
            raise ValueError(f'features cannot have been extracted with {fields}') from error


@dataclass
class ExternalSource:
    """Another program has extracted the features, so only that program can extract more.

    All of them compare equal, since nothing is known of them.

    Attributes:
        files (list of str): Names of the files that they were read from.
    """

    files: list[str] = field(compare=False)

    @classmethod
    def of(cls, *paths: str) -> 'ExternalSource':
        """Returns the source of features that are in some files."""
        return cls([os.path.basename(path) for path in paths])


def note_differences(source, recorded, recorded_by: str, stacklevel: int = 2):
    """Notes how features are extracted in another way than others.

    Args:
        source (FeatureSource): How they are extracted.
        recorded (FeatureSource): How the others were.
        recorded_by (str): Subject and verb of the note, such as "the model was trained with".
        stacklevel (int): See :func:`warnings.warn`.
    """
    for name, expected in vars(recorded).items():
        used = getattr(source, name)
        if used != expected:
            note = f'{name.replace("_", " ")} {used} is used, but {recorded_by} {expected}'
            warnings.warn(note, InputWarning, stacklevel + 1)


def check_same_source(path: str, source, recorded, recorded_by: str):
    """Checks that the features in a file come from the network and layer that others came from.

    Other differences are noted. Nothing is checked of what is unknown.

    Args:
        path (str): The file.
        source, recorded (FeatureSource or ExternalSource): How its features and the others were
            extracted, None if unknown.
        recorded_by (str): As for :func:`note_differences`.

    Raises:
        InputError: If another network or layer was used.
    """
    if None in (source, recorded) or source == recorded:
        return
    if type(source) is not type(recorded):
        note = (
            f'{path}: may have other features than {recorded_by}, since another program has '
            'extracted some of them'
        )
        warnings.warn(note, InputWarning, stacklevel=3)
        return
    for name in 'network', 'layer':
        used, expected = getattr(source, name), getattr(recorded, name)
        if used != expected:
            raise InputError(
                f'{path}: has features of {name} {used}, but {recorded_by} those of {expected}'
            )
    note_differences(source, recorded, recorded_by, stacklevel=3)
