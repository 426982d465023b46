"""Draws the demo's data set: images of colored shapes, with captions from a small grammar.

Writes FOLDER/dataset.json in Karpathy's format and the images as FOLDER/train/*.jpg,
FOLDER/val/*.jpg and FOLDER/test/*.jpg.
"""

import itertools
import math
import os
import random
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFilter

from lib.cli.parser import ArgumentParser, add_seed_flag, number
from lib.cli.run import run_main
from lib.files.output import write_json

IMAGE_SIZE = 96
COLORS = {
    'red': (214, 40, 40),
    'green': (46, 160, 67),
    'blue': (38, 84, 214),
    'yellow': (240, 200, 30),
    'black': (25, 25, 25),
}
SHAPES = 'circle', 'square', 'triangle', 'star'
RADII = {'small': 9, 'large': 16}
COLUMNS = {'left': 0.25, 'middle': 0.5, 'right': 0.75}
ROWS = {'top': 0.25, 'center': 0.5, 'bottom': 0.75}


class Shape(NamedTuple):
    """A shape of a scene; ``x`` and ``y`` are its center and ``radius`` its size, pixels."""

    color: str
    kind: str
    size: str
    x: float
    y: float
    radius: float


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument('output', metavar='FOLDER', help='folder to write to')
    parser.add_argument(
        '--train',
        type=number(int, low=1),
        default=6000,
        metavar='N',
        help='number of training scenes',
    )
    parser.add_argument(
        '--val',
        type=number(int, low=1),
        default=200,
        metavar='N',
        help='number of validation scenes',
    )
    parser.add_argument(
        '--test', type=number(int, low=1), default=200, metavar='N', help='number of test scenes'
    )
    add_seed_flag(parser, 'the scenes')
    return parser.parse_args()


def main():
    args = parse_args()
    rng = random.Random(args.seed)
    images = []
    for split in 'train', 'val', 'test':
        os.makedirs(os.path.join(args.output, split), exist_ok=True)
        for position in range(getattr(args, split)):
            shapes = invent_scene(rng)
            filename = f'scene_{position:04}.jpg'
            draw_scene(rng, shapes).save(os.path.join(args.output, split, filename), quality=90)
            sentences = [
                {'raw': f'{caption[0].upper()}{caption[1:]}.', 'tokens': caption.split()}
                for caption in write_captions(rng, shapes)
            ]
            images.append(
                {
                    'imgid': len(images),
                    'filepath': split,
                    'filename': filename,
                    'split': split,
                    'shapes': [shape._asdict() for shape in shapes],
                    'sentences': sentences,
                }
            )
    write_json(os.path.join(args.output, 'dataset.json'), {'dataset': 'scenes', 'images': images})
    print(f'drew {len(images)} scenes in {args.output}')


def invent_scene(rng):
    """Places one or two shapes that do not touch, two beside or above each other."""
    cells = list(itertools.product((0.25, 0.5, 0.75), repeat=2))
    centers = [rng.choice(cells)]
    if rng.random() < 0.7:
        # At opposite ends of a row or column, so that their relation is unambiguous.
        centers = rng.choice(
            [[(0.25, end), (0.75, end)] for end in (0.25, 0.5, 0.75)]
            + [[(end, 0.25), (end, 0.75)] for end in (0.25, 0.5, 0.75)]
        )
    shapes = []
    for x, y in centers:
        size = rng.choice(list(RADII))
        shapes.append(
            Shape(
                color=rng.choice(list(COLORS)),
                kind=rng.choice(SHAPES),
                size=size,
                x=IMAGE_SIZE * x + rng.uniform(-4, 4),
                y=IMAGE_SIZE * y + rng.uniform(-4, 4),
                radius=RADII[size] * rng.uniform(0.9, 1.1),
            )
        )
    return shapes


def draw_scene(rng, shapes):
    """Draws shapes on a pale, noisy background; IMAGE_SIZE pixels on a side."""
    scale = 4  # drawn larger and reduced, for smooth edges
    background = tuple(rng.randint(205, 245) for _ in range(3))
    image = Image.new('RGB', (IMAGE_SIZE * scale, IMAGE_SIZE * scale), background)
    draw = ImageDraw.Draw(image)
    for shape in shapes:
        color = tuple(
            min(255, max(0, value + rng.randint(-15, 15))) for value in COLORS[shape.color]
        )
        draw.polygon([(scale * x, scale * y) for x, y in outline(rng, shape)], fill=color)
    image = image.reduce(scale)
    noise = Image.effect_noise((IMAGE_SIZE, IMAGE_SIZE), 24).filter(ImageFilter.GaussianBlur(0.6))
    return Image.blend(image, noise.convert('RGB'), 0.08)


def outline(rng, shape):
    """Returns the corners of a shape, slightly rotated."""
    # Number of corners; radius of every second one; radius at which all shapes look alike.
    n_corners, inner, scale = {
        'circle': (40, 1, 1),
        'square': (4, 1, 1.25),
        'triangle': (3, 1, 1.4),
        'star': (10, 0.45, 1.35),
    }[shape.kind]
    rotation = rng.uniform(-0.15, 0.15)
    rotation += math.pi / 4 if shape.kind == 'square' else math.pi / 2
    corners = []
    for corner in range(n_corners):
        radius = shape.radius * scale * (inner if corner % 2 else 1)
        angle = rotation + 2 * math.pi * corner / n_corners
        corners.append((shape.x + radius * math.cos(angle), shape.y - radius * math.sin(angle)))
    return corners


def write_captions(rng, shapes, n_captions=5):
    """Returns distinct captions that are all true of a scene."""
    captions = []
    while len(captions) < n_captions:
        caption = rng.choice(TEMPLATES[len(shapes)])(rng, shapes)
        if caption not in captions:
            captions.append(caption)
    return captions


def noun(rng, shape):
    size = rng.choice(['', f'{shape.size} '])
    return f'a {size}{shape.color} {shape.kind}'


def position(shape):
    """Names the part of the image that a shape is in."""
    column = min(COLUMNS, key=lambda name: abs(COLUMNS[name] * IMAGE_SIZE - shape.x))
    row = min(ROWS, key=lambda name: abs(ROWS[name] * IMAGE_SIZE - shape.y))
    if (column, row) == ('middle', 'center'):
        return 'in the middle'
    if row == 'center':
        return f'on the {column}'
    if column == 'middle':
        return f'at the {row}'
    return f'at the {row} {column}'


def relation(first, second):
    """Returns where the first shape is relative to the second."""
    if abs(first.x - second.x) > abs(first.y - second.y):
        return 'to the left of' if first.x < second.x else 'to the right of'
    return 'above' if first.y < second.y else 'below'


def related(rng, shapes):
    first, second = rng.sample(shapes, 2)
    return f'{noun(rng, first)} {relation(first, second)} {noun(rng, second)}'


def listed(rng, shapes):
    first, second = rng.sample(shapes, 2)
    return f'{noun(rng, first)} and {noun(rng, second)}'


def listed_with_positions(rng, shapes):
    first, second = rng.sample(shapes, 2)
    return f'{noun(rng, first)} {position(first)} and {noun(rng, second)} {position(second)}'


# Functions that write a caption, by the number of shapes in a scene.
TEMPLATES = {
    1: (
        lambda rng, shapes: f'{noun(rng, shapes[0])} {position(shapes[0])}',
        lambda rng, shapes: f'there is {noun(rng, shapes[0])} {position(shapes[0])}',
        lambda rng, shapes: f'{noun(rng, shapes[0])} on a pale background',
        lambda rng, shapes: f'a picture of {noun(rng, shapes[0])}',
    ),
    2: (
        related,
        related,
        listed,
        listed_with_positions,
        lambda rng, shapes: f'there is {related(rng, shapes)}',
    ),
}


if __name__ == '__main__':
    run_main(main)
