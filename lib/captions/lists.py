"""Lists of images and captions: text in columns, from editors, spreadsheets and other programs.

Flickr8k's ``token.txt``, Kaggle's ``captions.txt`` and Flickr30k's ``results.csv`` are such lists.
"""

import csv
import io
import json
import re

from lib.files.image_names import SUFFIXES

# What may be between columns; the first that the first line contains is.
SEPARATORS = {'\t': 'tab', '|': '|', ',': 'comma', ';': 'semicolon'}
# Headings, in lower case, of columns whose content does not tell what they are.
IMAGE_HEADINGS = {'image', 'image_id', 'image_name', 'file', 'file_name', 'filename', 'name', 'id'}
CAPTION_HEADINGS = {'caption', 'captions', 'comment', 'description', 'sentence', 'text', 'raw'}
# Rows by whose content columns are recognized.
N_ROWS = 100


def is_list_of_images(text: str) -> bool:
    """Returns whether every line is a single name, as in ``Flickr_8k.trainImages.txt``."""
    lines = text.strip().split('\n')
    return not any(re.search(r'[\s,;|]', line.strip()) for line in lines) and lines != ['']


def parse_list(text: str):
    """Yields image, caption and split of each caption; the split is None without such a column.

    There may be a first line of headings. Without one there are two columns.

    Args:
        text (str): The list.

    Raises:
        ValueError: If a line lacks a column, or an image is an address instead of a file.
    """
    separator, rows = _split(text)
    headings = _find_headings(rows)
    rows = rows[bool(headings) :]
    if not rows:
        return
    if headings:
        image_column, caption_column = _find_columns(headings, rows)
    else:
        image_column, caption_column = 0, 1
        _, cells = rows[0]
        if not _is_image(cells[0]):
            if _is_image(cells[-1]):
                image_column, caption_column = 1, 0
            elif separator != '\t':
                raise ValueError(f'line {rows[0][0]}: no tab between image and caption')
    for number, cells in rows:
        cells = _fit(cells, len(headings) or 2, caption_column, separator)
        if cells is None:
            raise ValueError(f'line {number}: no {SEPARATORS[separator]} between image and caption')
        if any(re.fullmatch(r'\w+://\S+', cell.strip()) for cell in cells):
            raise ValueError(
                f'line {number}: the image is an address; download the images and list their files'
            )
        split = cells[headings.index('split')].strip() if 'split' in headings else None
        for caption in _captions_in(cells[caption_column]):
            yield re.sub(r'#\d+$', '', cells[image_column].strip()), caption.strip(), split


def _split(text):
    """Returns what separates columns, and the number and the cells of each line."""
    lines = [(number, line) for number, line in enumerate(text.split('\n'), 1) if line.strip()]
    if not lines:
        return '\t', []
    number, first = lines[0]
    separator = next((separator for separator in SEPARATORS if separator in first), None)
    if separator is None:
        raise ValueError(f'line {number}: no tab between image and caption')
    if separator in '\t|':  # where quotation marks are those of captions
        return separator, [(number, line.split(separator)) for number, line in lines]
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator, strict=True)
    try:
        return separator, [(reader.line_num, cells) for cells in reader if any(cells)]
    except csv.Error as error:
        raise ValueError(f'line {reader.line_num}: {error}') from error


def _find_headings(rows):
    """Returns the cells of the first row in lower case if they are headings, otherwise none."""
    cells = [cell.strip().lower() for _, first in rows[:1] for cell in first]
    if any(_is_image(cell) or len(cell.split()) > 1 for cell in cells):
        return []
    is_known = not CAPTION_HEADINGS.isdisjoint(cells)
    return cells if is_known or any(_is_image(cell) for _, row in rows for cell in row) else []


def _find_columns(headings, rows):
    """Returns the numbers of the columns of images and of captions."""
    columns = [
        [cells[n] for _, cells in rows[:N_ROWS] if len(cells) == len(headings)]
        for n in range(len(headings))
    ]
    image_column = max(
        range(len(headings)),
        key=lambda n: (sum(map(_is_image, columns[n])), headings[n] in IMAGE_HEADINGS),
    )
    caption_column = max(
        (n for n in range(len(headings)) if n != image_column),
        key=lambda n: (headings[n] in CAPTION_HEADINGS, sum(map(len, columns[n]))),
    )
    return image_column, caption_column


def _fit(cells, n_columns, caption_column, separator):
    """Returns the cells of a line as so many columns, None if there are too few.

    A caption may contain the separator; in a line of Flickr30k's ``results.csv`` one is missing
    after the number of the comment.
    """
    n_more = len(cells) - n_columns
    if n_more < 0:
        number_and_caption = re.fullmatch(r'\s*(\d+)\s+(.*)', cells[-1])
        if separator == '|' and n_more == -1 and number_and_caption:
            return [*cells[:-1], *number_and_caption.groups()]
        return None
    end = caption_column + n_more + 1
    return [*cells[:caption_column], separator.join(cells[caption_column:end]), *cells[end:]]


def _captions_in(cell):
    """Returns the captions in a cell: one, or those of a JSON list."""
    try:
        return json.loads(cell) if cell.startswith('["') else [cell]
    except ValueError:
        return [cell]


def _is_image(cell):
    return re.sub(r'#\d+$', '', cell.strip()).lower().endswith(SUFFIXES)
