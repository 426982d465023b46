"""Captions that people would not write: cut off, or repeating themselves."""

from collections import Counter

# A word must have been seen as often for it to be known that it ends no caption, and end at most
# this share of the captions in which it is seen.
MIN_COUNT, MAX_SHARE = 50, 0.001
# Words that may stand between two equal ones in "a white and white dog".
CONJUNCTIONS = 'and', 'or'


def words_that_end_none(token_lists) -> set[str]:
    """Returns the words with which captions do not end, such as "a" and "of".

    Args:
        token_lists (iterable of list of str): Captions that people wrote.
    """
    seen, last = Counter(), Counter()
    for tokens in token_lists:
        seen.update(set(tokens))
        last[tokens[-1]] += 1
    return {word for word, n in seen.items() if n >= MIN_COUNT and last[word] <= MAX_SHARE * n}


def is_cut_off(tokens: list[str], words: set[str]) -> bool:
    """Returns whether a caption ends as none does.

    Args:
        tokens (list of str): The caption.
        words (set of str): From :func:`words_that_end_none`.

    Example:
        >>> is_cut_off('a dog in front of a'.split(), {'a', 'of'})
        True
    """
    return bool(tokens) and tokens[-1] in words


def stutters(tokens: list[str]) -> bool:
    """Returns whether a caption says up to three words twice in a row.

    Example:
        >>> stutters('a dog dog is running'.split())
        True
        >>> stutters('a white and white dog'.split())
        True
        >>> stutters('a black and white dog'.split())
        False
    """
    for n in 1, 2, 3:
        for start in range(len(tokens) - n):
            rest = tokens[start + n :]
            if rest[0] in CONJUNCTIONS and n == 1:
                rest = rest[1:]
            if rest[:n] == tokens[start : start + n]:
                return True
    return False
