"""Printing scores: a row for each beam width, intervals, and comparisons."""

import numpy

from lib.cli.run import print_line

# Scores that are not printed in percent with one decimal.
FORMATS = {'M': 'd', 'CIDEr': '.3f', 'distinct': 'd', 'new': '.1%', 'words': '.1f'}


def print_loss(split: str, loss: float | None):
    """Prints what :meth:`lib.evaluation.evaluator.Evaluator.loss` returned."""
    if loss is not None:
        with numpy.errstate(over='ignore'):  # the perplexity becomes infinite
            perplexity = numpy.exp(loss)
        print(f'{split}: loss {loss:.4f} nats per token, perplexity {perplexity:.2f}')


def print_scores(beam_width: int | None, scores, intervals, with_header: bool):
    """Prints a row of scores and, below it, half their intervals.

    Args:
        beam_width (int): The first column; None if the search has no beam.
        scores (dict): The other columns, from their names.
        intervals (dict): From the names of some of them to their lowest and highest values.
        with_header (bool): Whether to print the names above.
    """
    if with_header:
        _print_row({name: name for name in ('M', *scores)})
    row = {'M': beam_width, **scores}
    _print_row({name: _format(name, score) for name, score in row.items()})
    if intervals:
        halves = {name: _format(name, (high - low) / 2) for name, (low, high) in intervals.items()}
        _print_row({'M': '±', **dict.fromkeys(scores, ''), **halves})


def print_differences(path: str, differences):
    """Prints the differences of scores, their intervals, and the probabilities.

    Args:
        path (str): The captions that were compared with.
        differences (dict): What :meth:`lib.evaluation.scores.Scores.compare` returned.
    """
    print_line(f'difference from {path}, with its 95 % interval and two-sided p:')
    _print_row({'M': '', **{name: name for name in differences}})
    for label, attribute in ('', 'value'), ('from', 'low'), ('to', 'high'):
        cells = {
            name: _format(name, getattr(difference, attribute), sign='+')
            for name, difference in differences.items()
        }
        _print_row({'M': label, **cells})
    p_values = {name: f'{difference.p:.3f}' for name, difference in differences.items()}
    _print_row({'M': 'p', **p_values})


def _print_row(cells):
    """Prints cells, texts from the names of their columns."""
    row = ''.join(text.rjust(max(9, len(name) + 1)) for name, text in cells.items())
    print(row.rstrip(), flush=True)


def _format(name, score, sign=''):
    if score is None:
        return '-'
    if name in FORMATS:
        return format(score, sign + FORMATS[name])
    return format(100 * score, f'{sign}.1f')
