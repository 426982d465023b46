"""Texts that anybody may have written, such as captions and names of files."""

import unicodedata


def check_text(text):
    """Checks that a text can be stored: a string without lone surrogates and null characters.

    Raises:
        ValueError: If it is not.
    """
    is_valid = isinstance(text, str) and '\0' not in text
    if not is_valid or (not text.isascii() and text != text.encode(errors='ignore').decode()):
        raise ValueError(f'{text!r} is not valid text')


def to_nfc(text: str) -> str:
    """Returns a text in Unicode's normal form C, in which letters and accents are one character."""
    return unicodedata.normalize('NFC', text)
