"""Splitting captions into the words, or characters, that a model generates."""

import string
import unicodedata

# What is printed between the tokens of each tokenizer.
SEPARATORS = {'words': ' ', 'characters': ''}
_NO_PUNCTUATION = str.maketrans('', '', string.punctuation)


def tokenize(caption: str, tokenizer: str) -> list[str]:
    """Splits a caption into tokens.

    Args:
        caption (str): As it was written.
        tokenizer (str): ``'words'`` splits as Karpathy did: lower case, no punctuation, at
            white space. ``'characters'``, for languages written without spaces, makes a token
            of every character that is neither white space nor punctuation.

    Returns:
        list of str: The tokens, none of them empty.

    Example:
        >>> tokenize('A dog, running.', 'words')
        ['a', 'dog', 'running']
        >>> tokenize('犬が走る。', 'characters')
        ['犬', 'が', '走', 'る']
    """
    if tokenizer == 'words':
        return caption.lower().translate(_NO_PUNCTUATION).split()
    return [
        character
        for character in caption.lower()
        if not character.isspace() and unicodedata.category(character)[0] not in 'PC'
    ]
