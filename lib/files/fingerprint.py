"""Fingerprints of data, by which a file can tell later what it was made from."""

import hashlib

# Bytes of an array that are read at a time.
BLOCK_BYTES = 1 << 24


def fingerprint(*parts) -> str:
    """Returns the SHA-256 of arrays and texts, in hexadecimal.

    Equal arrays have the same fingerprint, in whatever file or order of memory they are.

    Args:
        parts (tuple of array or str): NumPy arrays, in memory row after row, or what is read like
            one; and texts.
    """
    digest = hashlib.sha256()
    for part in parts:
        # With the length, so that ("a", "bc") differs from ("ab", "c").
        if isinstance(part, str):
            content = part.encode()
            digest.update(f'text {len(content)}:'.encode() + content)
            continue
        digest.update(f'{part.dtype.str} {part.shape} {part.nbytes}:'.encode())
        n_rows = max(1, BLOCK_BYTES * len(part) // max(1, part.nbytes))
        for start in range(0, len(part), n_rows):
            digest.update(memoryview(part[start : start + n_rows]).cast('B'))
    return digest.hexdigest()
