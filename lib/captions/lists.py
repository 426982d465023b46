"""Lists of images and captions: text in columns, from editors, spreadsheets and other programs.

Flickr8k's ``token.txt``, Kaggle's ``captions.txt`` and Flickr30k's ``results.csv`` are such lists.
"""

import ast
import csv
import io
import re

from lib.files.image_names import SUFFIXES

# What may be between columns.
SEPARATORS = {'\t': 'tab', '|': '|', ',': 'comma', ';': 'semicolon'}
# Headings, in lower case: of equal columns the one whose heading comes first counts.
IMAGE_HEADINGS = (
    'image', 'filename', 'file_name', 'file', 'image_name', 'image_path', 'filepath', 'file_path',
    'path', 'img', 'image_id', 'img_id', 'name', 'id',
)  # fmt: skip
CAPTION_HEADINGS = (
    'caption', 'captions', 'sentence', 'sentences', 'comment', 'description', 'text', 'raw',
)  # fmt: skip
# Words of a heading, at most.
MAX_HEADING_WORDS = 3
# Rows by whose content columns are recognized.
N_ROWS = 100


def is_list_of_images(text: str) -> bool:
    """Returns whether every line is a single name, as in ``Flickr_8k.trainImages.txt``."""
    lines = [line.strip() for line in text.strip().split('\n')]
    return lines != [''] and not any(
        re.search(r'[\t|,;]' if is_image(line) else r'[\s|,;]', line) for line in lines
    )


def is_image(cell: str) -> bool:
    """Returns whether a cell is the name of an image by its suffix."""
    return without_number(cell).lower().endswith(SUFFIXES)


def without_number(cell: str) -> str:
    """Returns the name of an image without the number of its caption, as in ``a.jpg#0``."""
    return re.sub(r'#\d+$', '', cell.strip())


def parse_list(text: str):
    """Yields image, caption and split of each caption; the split is None without such a column.

    There may be a first line of headings. Without one there are two columns.

    Args:
        text (str): The list.

    Raises:
        ValueError: If a line lacks a column, an image is an address instead of a file, or it is
            unclear what the columns are.
    """
    separator, rows = _split(text)
    headings = _find_headings(rows)
    rows = rows[bool(headings) :]
    if not rows:
        return
    if headings:
        image_column, caption_columns = _find_columns(headings, rows)
    else:
        image_column, caption_columns = _find_two_columns(rows, separator)
    split_column = headings.index('split') if 'split' in headings else None
    for number, cells in rows:
        cells = _fit(cells, len(headings) or 2, caption_columns[-1], separator)
        if cells is None:
            raise ValueError(f'line {number}: no {SEPARATORS[separator]} between image and caption')
        # Without headings, an address may be where the caption is expected.
        for cell in [cells[image_column]] if headings else cells:
            if '://' in cell and re.fullmatch(r'\w+://\S+', cell.strip()):
                raise ValueError(
                    f'line {number}: the image is an address; download the images and list their '
                    'files'
                )
        image = without_number(cells[image_column])
        split = None if split_column is None else cells[split_column].strip()
        for column in caption_columns:
            for caption in _captions_in(cells[column].strip()):
                yield image, caption.strip(), split


def _split(text):
    """Returns what separates columns, and the number and the cells of each line."""
    lines = [(number, line) for number, line in enumerate(text.split('\n'), 1) if line.strip()]
    if lines and re.fullmatch(r'sep=.', lines[0][1].strip()):  # for Excel
        lines = lines[1:]
    if not lines:
        return '\t', []
    number, first = lines[0]
    separators = [separator for separator in SEPARATORS if separator in first]
    if not separators:
        raise ValueError(f'line {number}: no tab between image and caption')
    # A caption may contain another one, but that does not separate an image.
    separator = max(
        separators,
        key=lambda separator: any(
            is_image(cell.strip('" ')) for _, line in lines[:2] for cell in line.split(separator)
        ),
    )
    # With tabs, quotation marks are those of captions, unless they surround the image, too.
    if separator in '\t|' and not lines[-1][1].startswith('"'):
        return separator, [(number, line.split(separator)) for number, line in lines]
    content = '\n'.join(line for _, line in lines)
    reader = csv.reader(io.StringIO(content, newline=''), delimiter=separator, strict=True)
    try:
        return separator, [(reader.line_num + number - 1, row) for row in reader if any(row)]
    except csv.Error as error:
        raise ValueError(f'line {reader.line_num + number - 1}: {error}') from error


def _find_headings(rows):
    """Returns the cells of the first row in lower case if they are headings, otherwise none."""
    cells = [cell.strip().lower() for _, first in rows[:1] for cell in first]
    if any(is_image(cell) or len(cell.split()) > MAX_HEADING_WORDS for cell in cells):
        return []
    is_known = any(map(_is_caption_heading, cells))
    rows_with_image = [any(map(is_image, row)) for _, row in rows[1:N_ROWS]]
    return cells if is_known or (rows_with_image and all(rows_with_image)) else []


def _is_caption_heading(heading):
    return re.sub(r'[ _]?\d+$', '', heading) in CAPTION_HEADINGS


def _find_columns(headings, rows):
    """Returns the number of the column of images, and those of the columns of captions."""
    n_images = [0] * len(headings)
    for _, cells in rows[:N_ROWS]:
        for column, cell in enumerate(cells[: len(headings)]):
            n_images[column] += is_image(cell)
    columns = range(len(headings))
    image_column = max(columns, key=lambda n: (n_images[n], -_rank(headings[n], IMAGE_HEADINGS)))
    if not n_images[image_column] and headings[image_column] not in IMAGE_HEADINGS:
        raise ValueError('it is unclear which column has the images; call it "image"')
    others = [n for n in columns if n != image_column]
    known = [n for n in others if _is_caption_heading(headings[n])]
    if not known and len(others) != 1:
        raise ValueError('it is unclear which column has the captions; call it "caption"')
    # All of caption_0, caption_1 and so on; otherwise the one that is called so most clearly.
    numbered = [n for n in known if headings[n][-1].isdigit()]
    known.sort(key=lambda n: _rank(headings[n], CAPTION_HEADINGS))
    return image_column, numbered or (known or others)[:1]


def _rank(heading, headings):
    return headings.index(heading) if heading in headings else len(headings)


def _find_two_columns(rows, separator):
    """Returns the number of the column of images, and that of captions in a list."""
    number, first = rows[0]
    sizes = {len(cells) for _, cells in rows[:N_ROWS]}
    # A caption may contain commas, but hardly all captions the same number of them.
    if (separator in '\t|' or (len(sizes) == 1 and len(rows) > 2)) and max(sizes) > 2:
        raise ValueError('there are more than two columns; add a first line of headings')
    if is_image(first[0]):
        return 0, [1]
    if is_image(first[-1]):
        return 1, [0]
    if separator != '\t':
        raise ValueError(f'line {number}: no tab between image and caption')
    # Names without a suffix have no spaces, either.
    pairs = [cells for _, cells in rows[:N_ROWS] if len(cells) == 2]
    has_space = [any(' ' in cell.strip() for cell in column) for column in zip(*pairs)]
    return (1, [0]) if has_space == [True, False] else (0, [1])


def _fit(cells, n_columns, caption_column, separator):
    """Returns the cells of a line as so many columns, None if there are too few.

    A caption may contain the separator; in a line of Flickr30k's ``results.csv`` one is missing
    after the number of the comment.
    """
    n_more = len(cells) - n_columns
    if n_more == 0:
        return cells
    if n_more < 0:
        number_and_caption = re.fullmatch(r'\s*(\d+)\s+(.*)', cells[-1])
        if separator == '|' and n_more == -1 and number_and_caption:
            return [*cells[:-1], *number_and_caption.groups()]
        return None
    end = caption_column + n_more + 1
    return [*cells[:caption_column], separator.join(cells[caption_column:end]), *cells[end:]]


def _captions_in(cell):
    """Returns the captions in a cell: one, or those of a list in Python or JSON."""
    if cell.startswith(('["', "['")):
        try:
            captions = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [cell]
        if all(isinstance(caption, str) for caption in captions):
            return captions
    return [cell]
