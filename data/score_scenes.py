"""Counts the captions of the demo's scenes that name the right shapes in the right colors.

Prints some captions beside true ones, then the share of images whose first caption names
exactly the colored shapes in the image.
"""

import json
import os
import re
from collections import Counter

from data.draw_scenes import COLORS, SHAPES
from lib.cli.parser import ArgumentParser, number
from lib.cli.run import run_main
from lib.errors import InputError

COLORED_SHAPE = re.compile(rf'\b({"|".join(COLORS)}) ({"|".join(SHAPES)})\b')


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument('scenes', metavar='FOLDER', help='folder that draw_scenes.py wrote')
    parser.add_argument(
        'captions', metavar='FILE', help='captions that generate_caption.py --json wrote'
    )
    parser.add_argument(
        '--examples', type=number(int, low=1), default=8, metavar='N', help='captions to print'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with open(os.path.join(args.scenes, 'dataset.json'), encoding='utf-8') as file:
        scenes = {(scene['split'], scene['filename']): scene for scene in json.load(file)['images']}
    with open(args.captions, encoding='utf-8') as file:
        results = json.load(file)
    if not results:
        raise InputError(f'{args.captions}: has no captions')

    n_right = 0
    for index, result in enumerate(results):
        folder, name = os.path.split(result['image'])
        scene = scenes[os.path.basename(folder), name]
        caption = result['captions'][0]['caption']
        is_right = names_shapes(caption, scene['shapes'])
        n_right += is_right
        if index < args.examples:
            print(f'{name}  {"right" if is_right else "WRONG"}  {caption}')
            print(f'{"":{len(name)}}  true   {" ".join(scene["sentences"][0]["tokens"])}')
    print(
        f'captions that name the right shapes and colors: {n_right} of {len(results)} '
        f'({n_right / len(results):.1%})'
    )


def names_shapes(caption, shapes):
    """Returns whether a caption names exactly these shapes in their colors."""
    return Counter(COLORED_SHAPE.findall(caption)) == Counter(
        (shape['color'], shape['kind']) for shape in shapes
    )


if __name__ == '__main__':
    run_main(main)
