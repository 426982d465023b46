"""Captions that people would not write: cut off, or repeating themselves."""

from lib.decoding.constraints import CONJUNCTIONS, MAX_STUTTER


def is_cut_off(tokens: list[str], never_last: set[str]) -> bool:
    """Returns whether a caption ends as none does.

    Args:
        tokens (list of str): The caption.
        never_last (set of str): The words with which none does.

    Example:
        >>> is_cut_off('a dog in front of a'.split(), {'a', 'of'})
        True
    """
    return bool(tokens) and tokens[-1] in never_last


def stutters(tokens: list[str]) -> bool:
    """Returns whether a caption says up to ten words twice in a row.

    Example:
        >>> stutters('a dog dog is running'.split())
        True
        >>> stutters('a white and white dog'.split())
        True
        >>> stutters('a black and white dog'.split())
        False
    """
    for n in range(1, MAX_STUTTER + 1):
        for start in range(len(tokens) - n):
            if tokens[start : start + n] == tokens[start + n : start + 2 * n]:
                return True
    return any(
        first == last and between in CONJUNCTIONS
        for first, between, last in zip(tokens, tokens[1:], tokens[2:])
    )
