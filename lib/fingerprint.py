"""Fingerprints of data, by which a file can tell later what it was made from."""

import hashlib


def fingerprint(*parts) -> str:
    """Returns the SHA-256 of arrays and texts, in hexadecimal.

    Equal arrays have the same fingerprint, in whatever file or order of memory they are.

    Args:
        parts (tuple of array or str): NumPy arrays, in memory row after row, and texts.
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else memoryview(part).cast('B')
        kind = 'text' if isinstance(part, str) else f'{part.dtype.str} {part.shape}'
        # With the length, so that ("a", "bc") differs from ("ab", "c").
        digest.update(f'{kind} {len(content)}:'.encode())
        digest.update(content)
    return digest.hexdigest()
