"""Puts images and their captions on one sheet, a PNG."""

import json
import textwrap

import matplotlib.figure

from lib.cli.parser import ArgumentParser, number
from lib.cli.run import run_main
from lib.errors import InputError
from lib.features.images import read_image
from lib.files.output import open_output

CHARACTERS_PER_LINE = 24


def parse_args():
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        'captions', metavar='FILE', help='captions that generate_caption.py --json wrote'
    )
    parser.add_argument('-o', '--output', required=True, metavar='FILE', help='PNG to write')
    parser.add_argument(
        '--images',
        type=number(int, low=1),
        default=12,
        metavar='N',
        help='number of images to show',
    )
    parser.add_argument(
        '--columns', type=number(int, low=1), default=6, metavar='N', help='images side by side'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with open(args.captions, encoding='utf-8') as file:
        results = json.load(file)[: args.images]
    if not results:
        raise InputError(f'{args.captions}: has no captions')
    n_rows = -(-len(results) // args.columns)
    figure = matplotlib.figure.Figure(
        figsize=(2 * args.columns, 2.6 * n_rows), layout='constrained', facecolor='white'
    )
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    cells = figure.subplots(n_rows, args.columns, squeeze=False).ravel()
    for cell in cells:
        cell.axis('off')
    for cell, result in zip(cells, results):
        cell.imshow(read_image(result['image']), interpolation='lanczos')
        lines = textwrap.wrap(result['captions'][0]['caption'], CHARACTERS_PER_LINE)
        # As many lines everywhere, so that the rows of images stay aligned.
        lines += [''] * (3 - len(lines))
        cell.set_title('\n'.join(lines), fontsize=9.5, y=0, pad=-8, va='top', color='#222')
    with open_output(args.output) as file:
        figure.savefig(file, format='png', dpi=110)
    print(f'wrote {args.output}: {len(results)} images with their captions')


if __name__ == '__main__':
    run_main(main)
