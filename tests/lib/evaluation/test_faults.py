"""Captions that people would not write."""

import doctest

import pytest

from lib.evaluation import faults
from lib.evaluation.faults import is_cut_off, stutters, words_that_end_none


def test_words_that_end_no_caption_are_learnt_from_captions():
    captions = [['a', 'dog', 'in', 'a', 'lake']] * 60 + [['a', 'cat']] * 40 + [['two', 'of']]
    assert words_that_end_none(captions) == {'a', 'dog', 'in'}
    # What has hardly been seen may end captions.
    assert 'two' not in words_that_end_none(captions)
    assert is_cut_off(['the', 'dog', 'in'], {'a', 'dog', 'in'})
    assert not is_cut_off(['a', 'lake'], {'a', 'dog', 'in'})
    assert not is_cut_off([], {'a'})


def test_a_word_that_ends_few_of_its_captions_ends_none():
    captions = [['a', 'dog']] * 2000 + [['a']]
    assert words_that_end_none(captions) == {'a'}
    assert words_that_end_none(captions + [['a']] * 2) == set()


@pytest.mark.parametrize(
    'caption, expected',
    [
        ('a man in a red shirt', False),
        ('a man man', True),
        ('the dog runs in the in the water', True),
        ('in front of a in front of a house', False),
        ('sits on a bench on a bench', True),
        ('a black and white dog', False),
        ('black and black dog', True),
        ('red or red', True),
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
