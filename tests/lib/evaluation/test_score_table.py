"""What is printed of scores."""

import pytest

from lib.evaluation.score_table import print_differences, print_loss, print_scores
from lib.evaluation.scores import Difference

SCORES = {
    'BLEU-4': 0.1574,
    'METEOR': 0.169,
    'CIDEr': 0.3374,
    'distinct': 560,
    'new': 0.902,
    'words': 10.06,
}


def test_rows_of_scores_have_a_header_and_half_the_intervals(capsys):
    intervals = {'BLEU-4': (0.14, 0.164), 'CIDEr': (0.31, 0.364)}
    print_scores(20, SCORES, intervals, with_header=True)
    print_scores(3, SCORES, intervals, with_header=False)
    assert capsys.readouterr().out.splitlines() == [
        '        M   BLEU-4   METEOR    CIDEr distinct      new    words',
        '       20     15.7     16.9    0.337      560    90.2%     10.1',
        '        ±      1.2             0.027',
        '        3     15.7     16.9    0.337      560    90.2%     10.1',
        '        ±      1.2             0.027',
    ]


def test_scores_without_intervals_take_one_line(capsys):
    print_scores(1, {'distinct': 2}, {}, with_header=False)
    assert capsys.readouterr().out == f'{1:>9}{2:>9}\n'


@pytest.mark.parametrize(
    'loss, printed',
    [
        (0.5, 'val: loss 0.5000 nats per token, perplexity 1.65\n'),
        (1e4, 'val: loss 10000.0000 nats per token, perplexity inf\n'),
        (None, ''),
    ],
)
def test_a_loss_is_printed_with_its_perplexity(capsys, loss, printed):
    print_loss('val', loss)
    assert capsys.readouterr().out == printed


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
