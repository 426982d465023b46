"""One self-contained HTML page of images and their captions."""

import base64
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from lib.cli.run import escape_control_characters
from lib.decoding.caption import Caption
from lib.features.images import UnreadableImageError, read_image
from lib.files.output import open_output

# Pixels: enough for a phone; a page of a thousand thumbnails takes about 20 MB.
THUMBNAIL_SIZE = 360

STYLE = """
:root { color-scheme: light dark; --edge: #8884; --quiet: #888; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 100rem;
       font: 1rem/1.4 system-ui, sans-serif; }
h1 { font-size: 1.3rem; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
article { border: 1px solid var(--edge); border-radius: .5rem; overflow: hidden; }
img { display: block; width: 100%; height: 13rem; object-fit: contain; background: #8882; }
h2 { margin: .6rem .8rem 0; font-size: .8rem; font-weight: normal; color: var(--quiet);
     overflow-wrap: anywhere; }
ol, ul { margin: .4rem .8rem .8rem; padding: 0; list-style: none; }
li { display: flex; justify-content: space-between; gap: .8rem; padding: .1rem 0; }
li:first-child { font-weight: 600; }
li span { color: var(--quiet); font-weight: normal; font-variant-numeric: tabular-nums;
          white-space: nowrap; }
ul { border-top: 1px solid var(--edge); padding-top: .4rem; color: var(--quiet); }
ul li:first-child { font-weight: normal; }
"""


@dataclass
class Card:
    """An image on the page.

    Attributes:
        name (str): Shown above the captions.
        path (str): The image's file, or None to show no image.
        captions (list of lib.decoding.caption.Caption): Its captions, best first.
        references (list of str): Its reference captions.
        score (str): Shown beside its name.
    """

    name: str
    path: str | None
    captions: list[Caption]
    references: Sequence[str] = ()
    score: str = ''


def make_cards(names, paths, captions, references, scores) -> list[Card]:
    """Returns the cards of images of a data set, those with the best CIDEr first.

    Args:
        names (sequence of str): Their file names.
        paths (list of str): Where they are; None for those that are not shown.
        captions (list of list of lib.decoding.caption.Caption): The captions of each.
        references (list of list of str): The reference captions of each.
        scores (lib.evaluation.scores.Scores): The scores of the first captions; without CIDEr, the
            order is that of the data set.
    """
    cider = scores.means.get('CIDEr')
    cards = []
    for n in range(len(names)) if cider is None else numpy.argsort(-cider, kind='stable'):
        score = '' if cider is None else f'CIDEr {cider[n]:.2f}'
        cards.append(Card(names[n], paths[n], captions[n], references[n], score))
    return cards


def write_gallery(path: str, title: str, cards):
    """Writes a page with a responsive grid of cards; the images are embedded in it.

    Args:
        path (str): HTML file to write.
        title (str): Heading of the page.
        cards (iterable of Card): In their order on the page.
    """
    with open_output(path) as file:

        def write(text):
            file.write(text.encode(errors='xmlcharrefreplace'))

        write(
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<title>{_escape(title)}</title>\n<style>{STYLE}</style></head>\n'
            f'<body><h1>{_escape(title)}</h1>\n<main>\n'
        )
        for card in cards:
            write(_article(card))
        write('</main></body></html>\n')


def _article(card):
    captions = ''.join(
        f'<li>{_escape(caption.text)} <span>{100 * math.exp(caption.log_prob):.2g} %</span></li>'
        for caption in card.captions
    )
    references = ''.join(f'<li>{_escape(text)}</li>' for text in card.references)
    return (
        f'<article>{_thumbnail(card)}<h2>{_escape(card.name)} {_escape(card.score)}</h2>'
        f'<ol>{captions}</ol>{f"<ul>{references}</ul>" if references else ""}</article>\n'
    )


def _thumbnail(card):
    if card.path is None:
        return ''
    try:
        image = read_image(card.path, THUMBNAIL_SIZE)
    except UnreadableImageError:
        return ''
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    jpeg = io.BytesIO()
    image.save(jpeg, 'JPEG', quality=80)
    data = base64.b64encode(jpeg.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _escape(text):
    # File names may contain bytes that are not UTF-8; they become question marks.
    return html.escape(escape_control_characters(text.encode(errors='replace').decode()))
