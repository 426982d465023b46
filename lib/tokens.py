"""Splitting captions into the words, or characters, that a model speaks."""

import string
import unicodedata

# What lies between two tokens of a caption that is printed.
SEPARATORS = {'words': ' ', 'characters': ''}
_NO_PUNCTUATION = str.maketrans('', '', string.punctuation)


def tokenize(caption, unit):
    """Splits a caption.

    Args:
        caption (str): As people wrote it.
        unit (str): ``'words'`` as Karpathy split them: in lower case, without punctuation, at
            spaces. ``'characters'`` for languages that put none between words: every
            character that is neither space nor punctuation.

    Returns:
        list of str: The tokens, none of them empty.
    """
    if unit == 'words':
        return caption.lower().translate(_NO_PUNCTUATION).split()
    return [character for character in caption.lower()
            if not character.isspace() and unicodedata.category(character)[0] not in 'PC']
