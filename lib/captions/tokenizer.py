"""Splitting captions into the words, or characters, that a model generates."""

import string
import unicodedata

# What is printed between the tokens of each tokenizer.
SEPARATORS = {'words': ' ', 'characters': ''}
# Marks between words that are written without spaces: a dash, an ellipsis, a place to break lines.
_BETWEEN_WORDS = '—―…\u200b'
# Marks that join the letters of a word in Persian and in languages of India.
_JOINERS = '\u200c\u200d'


class _Marks(dict):
    """What becomes of each character of words, for :meth:`str.translate`.

    ASCII punctuation is what Karpathy removed; of other characters it is what Unicode calls
    punctuation (P), control and format characters (C), and accents that stand alone (Sk).
    """

    def __missing__(self, code):
        character = chr(code)
        category = unicodedata.category(character)
        is_mark = category[0] in 'PC' or category == 'Sk' or character in string.punctuation
        if character in _BETWEEN_WORDS or character.isspace():
            self[code] = ' '
        else:
            self[code] = None if is_mark and character not in _JOINERS else code
        return self[code]


_MARKS = _Marks()


def tokenize(caption: str, tokenizer: str) -> list[str]:
    """Splits a caption into tokens.

    Args:
        caption (str): As it was written.
        tokenizer (str): ``'words'`` splits as Karpathy did: lower case, no punctuation, at
            white space. ``'characters'``, for languages written without spaces, makes a token
            of every character that is neither white space nor punctuation.

    Returns:
        list of str: The tokens, none of them empty, in Unicode's normal form C.

    Example:
        >>> tokenize('A dog, running.', 'words')
        ['a', 'dog', 'running']
        >>> tokenize('“A man’s dog”', 'words')
        ['a', 'mans', 'dog']
        >>> tokenize('犬が走る。', 'characters')
        ['犬', 'が', '走', 'る']
    """
    caption = unicodedata.normalize('NFC', caption.lower())
    if tokenizer == 'words':
        return caption.translate(_MARKS).split()
    return [
        character
        for character in caption
        if not character.isspace() and unicodedata.category(character)[0] not in 'PC'
    ]
