"""Printing scores: a row for each beam width, intervals, and comparisons."""

from lib.cli.run import print_line

# Scores that are not printed in percent with one decimal.
FORMATS = {
    'beam_width': 'd',
    'CIDEr': '.3f',
    'distinct': 'd',
    'new': '.1%',
    'words': '.1f',
    'cut off': '.1%',
    'stutter': '.1%',
}


def print_scores(scores, intervals, with_header: bool):
    """Prints a row of scores and, below it, half their intervals.

    Args:
        scores (dict): The columns, from their names; ``beam_width`` is the first.
        intervals (dict): From the names of some of them to their lowest and highest values.
        with_header (bool): Whether to print the names above.
    """
    if with_header:
        _print_row('M' if name == 'beam_width' else name for name in scores)
    _print_row(_format(name, score) for name, score in scores.items())
    if intervals:
        _, *names = scores
        halves = (_half(name, *intervals[name]) if name in intervals else '' for name in names)
        _print_row(['±', *halves])


def print_differences(path: str, differences):
    """Prints the differences of scores, their intervals, and the probabilities.

    Args:
        path (str): The captions that were compared with.
        differences (dict): What :func:`lib.evaluation.bootstrap.compare` returned.
    """
    print_line(f'difference from {path}, with its 95 % interval and two-sided p:')
    _print_row(['', *differences])
    for label, attribute in ('', 'value'), ('from', 'low'), ('to', 'high'):
        cells = (
            _format(name, getattr(difference, attribute), sign='+')
            for name, difference in differences.items()
        )
        _print_row([label, *cells])
    _print_row(['p', *(f'{difference.p:.3f}' for difference in differences.values())])


def print_remarks(scores, tokenizer: str):
    """Prints what is missing, and where the scores differ from those of other programs.

    Args:
        scores (dict): A row of scores.
        tokenizer (str): See :func:`lib.captions.tokenizer.tokenize`.
    """
    if 'CIDEr' not in scores:
        print(
            'pycocoevalcap was not found, so BLEU, METEOR, ROUGE-L and CIDEr are left out; '
            'pip install pycocoevalcap'
        )
    elif tokenizer == 'characters':
        print('these are scores of characters, not words; METEOR is omitted')
    elif 'METEOR' not in scores:
        print(
            'java was not found, or does not work, so METEOR is left out and the scores are not '
            'comparable with those of other programs, which use the Penn Treebank tokenizer; '
            'install Java'
        )


def _print_row(cells):
    print(''.join(f'{cell:>9}' for cell in cells).rstrip(), flush=True)


def _format(name, score, sign=''):
    if name in FORMATS:
        return format(score, sign + FORMATS[name])
    return format(100 * score, f'{sign}.1f')


def _half(name, low, high):
    """Returns half the width of an interval."""
    return _format(name, (high - low) / 2)
