"""One page of photographs and captions that shows itself, whoever it is sent to."""

import base64
import html
import io
import math
from dataclasses import dataclass

from lib.files import replacing
from lib.photographs import UnreadablePhotographError, read_photograph

# Pixels; sharp on a phone, and a thousand of them make a page of some 20 MB.
THUMBNAIL_SIZE = 360

STYLE = '''
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
'''


@dataclass
class Card:
    """What the page shows of a photograph.

    Attributes:
        name (str): What to call it.
        path (str): Where the photograph is, or None to show none.
        captions (list of tuple): Its captions and their log-probabilities, best first.
        references (list of str): What people wrote about it.
        score (str): Shown beside its name.
    """

    name: str
    path: str
    captions: list
    references: list = ()
    score: str = ''


def write_page(path, title, cards):
    """Writes a page of cards, in a grid that fits a phone and a desk.

    Args:
        path (str): The HTML file; pictures lie inside it.
        title (str): Its heading.
        cards (iterable of Card): In their order on the page.
    """
    with (replacing(path) as temporary,
          open(temporary, 'w', encoding='utf-8', errors='xmlcharrefreplace') as file):
        file.write('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
                   '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
                   f'<title>{_text(title)}</title>\n<style>{STYLE}</style></head>\n'
                   f'<body><h1>{_text(title)}</h1>\n<main>\n')
        for card in cards:
            file.write(_article(card))
        file.write('</main></body></html>\n')


def _article(card):
    captions = ''.join(f'<li>{_text(text)} <span>{_probability(log_prob)}</span></li>'
                       for text, log_prob in card.captions)
    references = ''.join(f'<li>{_text(text)}</li>' for text in card.references)
    return (f'<article>{_picture(card)}<h2>{_text(card.name)} {_text(card.score)}</h2>'
            f'<ol>{captions}</ol>{f"<ul>{references}</ul>" if references else ""}</article>\n')


def _picture(card):
    if card.path is None:
        return ''
    try:
        image = read_photograph(card.path)
    except UnreadablePhotographError:
        return ''
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    jpeg = io.BytesIO()
    image.save(jpeg, 'JPEG', quality=80)
    data = base64.b64encode(jpeg.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _probability(log_prob):
    """Returns a probability as people read it: 12 %, 0.3 %, 2e-07."""
    probability = math.exp(log_prob)
    if probability < 1e-4:
        return f'{probability:.0e}'
    return f'{100 * probability:.2g} %'


def _text(text):
    # Names of files need not be text; what is none becomes a question mark.
    return html.escape(text.encode(errors='replace').decode())
