"""Draws the demo data set: pictures of coloured shapes with captions from a small grammar.

Writes OUTPUT/dataset.json in Karpathy's format and the pictures as OUTPUT/train/*.jpg,
OUTPUT/val/*.jpg and OUTPUT/test/*.jpg.
"""

import itertools
import json
import math
import os
import random
from typing import NamedTuple

from lib.command_line import ArgumentParser, positive_int, run, seed
from lib.files import replacing

from PIL import Image, ImageDraw, ImageFilter

SIDE = 96
COLOURS = {'red': (214, 40, 40), 'green': (46, 160, 67), 'blue': (38, 84, 214),
           'yellow': (240, 200, 30), 'black': (25, 25, 25)}
SHAPES = 'circle', 'square', 'triangle', 'star'
SIZES = {'small': 9, 'large': 16}
PLACES = {'left': 0.25, 'middle': 0.5, 'right': 0.75}
HEIGHTS = {'top': 0.25, 'centre': 0.5, 'bottom': 0.75}


class Thing(NamedTuple):
    """One shape of a scene; ``x`` and ``y`` are its centre and ``radius`` its size, pixels."""

    colour: str
    shape: str
    size: str
    x: float
    y: float
    radius: float


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument('output', help='folder to write to')
    parser.add_argument('--train', type=positive_int, default=6000, help='scenes to train on')
    parser.add_argument('--val', type=positive_int, default=200, help='scenes to choose by')
    parser.add_argument('--test', type=positive_int, default=200, help='held-out scenes')
    parser.add_argument('--seed', type=seed, default=0, help='of the scenes')
    return parser.parse_args()


def main():
    args = parse_args()
    rng = random.Random(args.seed)
    images = []
    for split in 'train', 'val', 'test':
        os.makedirs(os.path.join(args.output, split), exist_ok=True)
        for number in range(getattr(args, split)):
            things = invent_scene(rng)
            name = f'scene_{number:04}.jpg'
            draw_scene(rng, things).save(os.path.join(args.output, split, name), quality=90)
            images.append({
                'imgid': len(images), 'filepath': split, 'filename': name, 'split': split,
                'things': [thing._asdict() for thing in things],
                'sentences': [
                    {'raw': f'{caption[0].upper()}{caption[1:]}.', 'tokens': caption.split()}
                    for caption in describe(rng, things)]})
    with (replacing(os.path.join(args.output, 'dataset.json')) as temporary,
          open(temporary, 'w', encoding='utf-8') as file):
        json.dump({'dataset': 'scenes', 'images': images}, file)
    print(f'{len(images)} scenes drawn in {args.output}')


def invent_scene(rng):
    """Places one or two things that do not touch; two things are one beside or above the other."""
    cells = list(itertools.product((0.25, 0.5, 0.75), repeat=2))
    first = rng.choice(cells)
    places = [first]
    if rng.random() < 0.7:
        # In one row or column, at opposite ends, so that the relation is plain to see.
        places = rng.choice([[(0.25, end), (0.75, end)] for end in (0.25, 0.5, 0.75)]
                            + [[(end, 0.25), (end, 0.75)] for end in (0.25, 0.5, 0.75)])
    things = []
    for x, y in places:
        size = rng.choice(list(SIZES))
        things.append(Thing(
            rng.choice(list(COLOURS)), rng.choice(SHAPES), size,
            SIDE * x + rng.uniform(-4, 4), SIDE * y + rng.uniform(-4, 4),
            SIZES[size] * rng.uniform(0.9, 1.1)))
    return things


def draw_scene(rng, things):
    """Draws things on a pale, noisy background; the picture has SIDE x SIDE pixels."""
    scale = 4    # drawn larger and reduced, for smooth edges
    background = tuple(rng.randint(205, 245) for _ in range(3))
    image = Image.new('RGB', (SIDE * scale, SIDE * scale), background)
    draw = ImageDraw.Draw(image)
    for thing in things:
        colour = tuple(min(255, max(0, value + rng.randint(-15, 15)))
                       for value in COLOURS[thing.colour])
        draw.polygon([(scale * x, scale * y) for x, y in outline(rng, thing)], fill=colour)
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    noise = Image.effect_noise((SIDE, SIDE), 24).filter(ImageFilter.GaussianBlur(0.6))
    return Image.blend(image, noise.convert('RGB'), 0.08)


def outline(rng, thing):
    """Returns the corners of a thing, slightly turned."""
    corners, inner = {'circle': (40, 1), 'square': (4, 1), 'triangle': (3, 1), 'star': (10, 0.45)}[
        thing.shape]
    turn = rng.uniform(-0.15, 0.15) + (math.pi / 4 if thing.shape == 'square' else math.pi / 2)
    # Corners lie on a circle; these radii make all shapes look about equally large.
    reach = thing.radius * {'circle': 1, 'square': 1.25, 'triangle': 1.4, 'star': 1.35}[thing.shape]
    points = []
    for corner in range(corners):
        radius = reach * (inner if corner % 2 else 1)
        angle = turn + 2 * math.pi * corner / corners
        points.append((thing.x + radius * math.cos(angle), thing.y - radius * math.sin(angle)))
    return points


def describe(rng, things, n_captions=5):
    """Returns different captions that are all true of the scene."""
    captions = []
    while len(captions) < n_captions:
        caption = rng.choice(SENTENCES[len(things)])(rng, things)
        if caption not in captions:
            captions.append(caption)
    return captions


def noun(rng, thing):
    size = rng.choice(['', f'{thing.size} '])
    return f'a {size}{thing.colour} {thing.shape}'


def place(thing):
    """Names the part of the picture that a thing is in."""
    column = min(PLACES, key=lambda name: abs(PLACES[name] * SIDE - thing.x))
    row = min(HEIGHTS, key=lambda name: abs(HEIGHTS[name] * SIDE - thing.y))
    if (column, row) == ('middle', 'centre'):
        return 'in the middle'
    if row == 'centre':
        return f'on the {column}'
    if column == 'middle':
        return f'at the {row}'
    return f'at the {row} {column}'


def relation(first, second):
    """Says where the first thing is as seen from the second."""
    if abs(first.x - second.x) > abs(first.y - second.y):
        return 'to the left of' if first.x < second.x else 'to the right of'
    return 'above' if first.y < second.y else 'below'


def related(rng, things):
    first, second = rng.sample(things, 2)
    return f'{noun(rng, first)} {relation(first, second)} {noun(rng, second)}'


def together(rng, things):
    first, second = rng.sample(things, 2)
    return f'{noun(rng, first)} and {noun(rng, second)}'


def placed_together(rng, things):
    first, second = rng.sample(things, 2)
    return f'{noun(rng, first)} {place(first)} and {noun(rng, second)} {place(second)}'


SENTENCES = {
    1: (lambda rng, things: f'{noun(rng, things[0])} {place(things[0])}',
        lambda rng, things: f'there is {noun(rng, things[0])} {place(things[0])}',
        lambda rng, things: f'{noun(rng, things[0])} on a pale background',
        lambda rng, things: f'a picture of {noun(rng, things[0])}'),
    2: (related, related, together, placed_together,
        lambda rng, things: f'there is {related(rng, things)}'),
}


if __name__ == '__main__':
    run(main)
