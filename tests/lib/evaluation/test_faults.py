"""Captions that people would not write."""

import doctest

import pytest

from lib.evaluation import faults
from lib.evaluation.faults import is_cut_off, stutters


def test_a_caption_is_cut_off_if_it_ends_with_a_word_that_ends_none():
    assert is_cut_off(['the', 'dog', 'in'], {'a', 'dog', 'in'})
    assert not is_cut_off(['a', 'lake'], {'a', 'dog', 'in'})
    assert not is_cut_off([], {'a'})


@pytest.mark.parametrize(
    'caption, expected',
    [
        ('a man in a red shirt', False),
        ('a man man', True),
        ('the dog runs in the in the water', True),
        ('in front of a in front of a house', True),
        ('sits on a bench on a bench', True),
        ('a dog in a blue shirt and a man in a blue shirt', False),
        ('a man and a woman in black and a woman in black', True),
        ('a black and white dog', False),
        ('black and black dog', True),
        ('red or red', True),
        ('red and and', True),
        ('a dog and a dog', False),
        ('and', False),
        ('white and', False),
        ('', False),
    ],
)
def test_stutters(caption, expected):
    assert stutters(caption.split()) == expected


def test_examples_of_the_docstrings():
    assert doctest.testmod(faults).failed == 0
