"""Scores captions of the demo's scenes: do they name the right shapes in the right colours?

Prints the captions beside the true ones, then the share of pictures whose first caption
names exactly the coloured shapes that are there.
"""

import json
import os
import re
from collections import Counter

from data.draw_scenes import COLOURS, SHAPES
from lib.command_line import ArgumentParser, positive_int, run
from lib.errors import InputError

THING = re.compile(rf'\b({"|".join(COLOURS)}) ({"|".join(SHAPES)})\b')


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument('scenes', help='folder that draw_scenes.py wrote')
    parser.add_argument('captions', help='file that generate_caption.py --json wrote')
    parser.add_argument('--show', type=positive_int, default=8, help='how many pictures to print')
    return parser.parse_args()


def main():
    args = parse_args()
    with open(os.path.join(args.scenes, 'dataset.json'), encoding='utf-8') as file:
        scenes = {(image['split'], image['filename']): image for image in json.load(file)['images']}
    with open(args.captions, encoding='utf-8') as file:
        results = json.load(file)

    if not results:
        raise InputError(f'{args.captions}: has no captions')

    n_right = 0
    for position, result in enumerate(results):
        folder, name = os.path.split(result['photograph'])
        scene = scenes[os.path.basename(folder), name]
        caption = result['captions'][0]['caption']
        is_right = names_all(caption, scene['things'])
        n_right += is_right
        if position < args.show:
            print(f'{name}  {"right" if is_right else "WRONG"}  {caption}')
            print(f'{"":{len(name)}}  true   {" ".join(scene["sentences"][0]["tokens"])}')
    print(f'first captions that name the right shapes and colours: '
          f'{n_right} of {len(results)} ({n_right / len(results):.1%})')


def names_all(caption, things):
    there = Counter((thing['colour'], thing['shape']) for thing in things)
    return Counter(THING.findall(caption)) == there


if __name__ == '__main__':
    run(main)
