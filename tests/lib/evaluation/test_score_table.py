"""What is printed of scores."""

import pytest

from lib.evaluation.bootstrap import Difference
from lib.evaluation.score_table import print_differences, print_remarks, print_scores

SCORES = {
    'beam_width': 20,
    'BLEU-4': 0.1574,
    'METEOR': 0.169,
    'CIDEr': 0.3374,
    'distinct': 560,
    'new': 0.902,
    'words': 10.06,
    'cut off': 0.005,
    'stutter': 0.0594,
}


def test_rows_of_scores_have_a_header_and_half_the_intervals(capsys):
    intervals = {'BLEU-4': (0.14, 0.164), 'METEOR': (0.163, 0.175), 'CIDEr': (0.31, 0.364)}
    print_scores(SCORES, intervals, with_header=True)
    print_scores({**SCORES, 'beam_width': 3}, intervals, with_header=False)
    header, row, halves, next_row, next_halves = capsys.readouterr().out.splitlines()
    names = 'M', 'BLEU-4', 'METEOR', 'CIDEr', 'distinct', 'new', 'words', 'cut off', 'stutter'
    assert header == ''.join(f'{name:>9}' for name in names)
    cells = '20', '15.7', '16.9', '0.337', '560', '90.2%', '10.1', '0.5%', '5.9%'
    assert row == ''.join(f'{cell:>9}' for cell in cells)
    assert halves == ''.join(f'{cell:>9}' for cell in ('±', '1.2', '0.6', '0.027'))
    assert next_row == row.replace('20', ' 3', 1)
    assert next_halves == halves


def test_a_half_is_below_its_score(capsys):
    print_scores(SCORES, {'CIDEr': (0.31, 0.364)}, with_header=False)
    row, halves = capsys.readouterr().out.splitlines()
    assert halves.index('0.027') == row.index('0.337')


def test_scores_without_intervals_take_one_line(capsys):
    print_scores({'beam_width': 1, 'distinct': 2}, {}, with_header=False)
    assert capsys.readouterr().out == f'{1:>9}{2:>9}\n'


def test_differences_have_signs_and_probabilities(capsys):
    differences = {
        'BLEU-4': Difference(0.0163, 0.0079, 0.0243, 0.0004),
        'CIDEr': Difference(-0.0341, -0.051, -0.017, 1.0),
    }
    print_differences('other\n.json', differences)
    title, *rows = capsys.readouterr().out.splitlines()
    assert title == r'difference from other\n.json, with its 95 % interval and two-sided p:'
    assert rows == [
        '            BLEU-4    CIDEr',
        '              +1.6   -0.034',
        '     from     +0.8   -0.051',
        '       to     +2.4   -0.017',
        '        p    0.000    1.000',
    ]


@pytest.mark.parametrize(
    'names, tokenizer, start',
    [
        (['beam_width', 'distinct'], 'words', 'pycocoevalcap was not found'),
        (['beam_width', 'distinct'], 'characters', 'pycocoevalcap was not found'),
        (['beam_width', 'CIDEr'], 'characters', 'these are scores of characters'),
        (['beam_width', 'CIDEr'], 'words', 'java was not found'),
    ],
)
def test_what_is_missing_is_said_in_one_line(capsys, names, tokenizer, start):
    print_remarks(dict.fromkeys(names, 1), tokenizer)
    out = capsys.readouterr().out
    assert out.startswith(start)
    assert out.count('\n') == 1


def test_nothing_is_said_if_nothing_is_missing(capsys):
    print_remarks(SCORES, 'words')
    assert capsys.readouterr().out == ''
