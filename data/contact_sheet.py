"""Puts pictures and their captions on one sheet, a PNG."""

import argparse
import json
import os
import sys
import textwrap

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib.files import replacing
from lib.photographs import read_photograph

import matplotlib.figure


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('captions', help='file that generate_caption.py --json wrote')
    parser.add_argument('-o', '--output', required=True, help='PNG to write')
    parser.add_argument('--pictures', type=int, default=24, help='most pictures to show')
    parser.add_argument('--columns', type=int, default=6)
    return parser.parse_args()


def main():
    args = parse_args()
    with open(args.captions, encoding='utf-8') as file:
        results = json.load(file)[:args.pictures]
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
    main()
