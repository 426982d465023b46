"""Puts pictures and their captions on one sheet, a PNG."""

import json
import textwrap

from lib.command_line import ArgumentParser, positive_int, run
from lib.errors import InputError
from lib.files import replacing
from lib.photographs import read_photograph

import matplotlib.figure


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument('captions', help='file that generate_caption.py --json wrote')
    parser.add_argument('-o', '--output', required=True, help='PNG to write')
    parser.add_argument('--pictures', type=positive_int, default=24, help='most pictures to show')
    parser.add_argument('--columns', type=positive_int, default=6, help='pictures side by side')
    return parser.parse_args()


def main():
    args = parse_args()
    with open(args.captions, encoding='utf-8') as file:
        results = json.load(file)[:args.pictures]
    if not results:
        raise InputError(f'{args.captions}: has no captions')
    rows = -(-len(results) // args.columns)
    figure = matplotlib.figure.Figure(figsize=(2.2 * args.columns, 2.7 * rows),
                                      layout='constrained')
    cells = figure.subplots(rows, args.columns, squeeze=False).ravel()
    for cell in cells:
        cell.axis('off')
    for cell, result in zip(cells, results):
        cell.imshow(read_photograph(result['photograph']))
        caption = result['captions'][0]['caption']
        cell.set_title('\n'.join(textwrap.wrap(caption, 26)), fontsize=9, y=0, pad=-6, va='top')
    with replacing(args.output) as temporary:
        figure.savefig(temporary, format='png', dpi=100)
    print(f'{len(results)} pictures with their captions on {args.output}')


if __name__ == '__main__':
    run(main)
