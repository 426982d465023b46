"""The types of flags: numbers in a range."""

import argparse

# What numbers may be at most, where nothing else limits them.
MAX_INT, MAX_FLOAT = 2**31 - 1, 1e6


def positive_int(text):
    return _parse_number(
        int, text, lambda value: 1 <= value <= MAX_INT, 'a positive integer up to 2147483647'
    )


def layer_count(text):
    return _parse_number(int, text, lambda value: 1 <= value <= 100, 'an integer from 1 to 100')


def non_negative_int(text):
    return _parse_number(
        int, text, lambda value: 0 <= value <= MAX_INT, 'a non-negative integer up to 2147483647'
    )


def seed_int(text):
    return _parse_number(
        int, text, lambda value: 0 <= value < 2**32, 'an integer from 0 to 4294967295'
    )


def positive_float(text):
    return _parse_number(
        float, text, lambda value: 0 < value <= MAX_FLOAT, 'a positive number up to a million'
    )


def non_negative_float(text):
    return _parse_number(
        float, text, lambda value: 0 <= value <= MAX_FLOAT, 'a non-negative number up to a million'
    )


def decay_factor(text):
    return _parse_number(float, text, lambda value: 0 < value <= 1, 'a number above 0 and up to 1')


def fraction(text):
    return _parse_number(
        float, text, lambda value: 0 <= value < 1, 'a number from 0 up to but excluding 1'
    )


def share(text):
    return _parse_number(float, text, lambda value: 0 <= value <= 1, 'a number from 0 to 1')


def sample_count(text):
    return _parse_number(int, text, lambda value: 2 <= value <= 1000, 'an integer from 2 to 1000')


def _parse_number(convert, text, is_valid, expected):
    try:
        value = convert(text)
    except ValueError:
        value = None
    if value is None or not is_valid(value):
        raise argparse.ArgumentTypeError(f'{text!r} is not {expected}')
    return value
