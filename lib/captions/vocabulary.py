"""Tokens and their indices."""

from collections import Counter

import numpy

from lib.captions.tokenizer import SEPARATORS
from lib.files.hdf5 import read_text, read_texts, write_text, write_texts

BOS, EOS, UNK = 0, 1, 2
SPECIAL_TOKENS = ('<S>', '</S>', '<UNK>')


class Vocabulary:
    """The tokens that a model knows; index 0 is ``<S>``, 1 ``</S>`` and 2 ``<UNK>``.

    Args:
        tokens (iterable of str): All tokens in the order of their indices.
        tokenizer (str): How captions are split into them, see
            :func:`lib.captions.tokenizer.tokenize`.
    """

    def __init__(self, tokens, tokenizer='words'):
        self.tokens = tuple(tokens)
        self.tokenizer = tokenizer
        # Without the special tokens: a caption that contains "</S>" must not end there.
        self._indices = {
            token: index for index, token in enumerate(self.tokens) if index >= len(SPECIAL_TOKENS)
        }

    @classmethod
    def from_captions(cls, captions, min_count: int, tokenizer: str = 'words') -> 'Vocabulary':
        """Collects the tokens seen ``min_count`` times or more, most frequent first.

        Args:
            captions (iterable of list of str): Tokenized captions.
            min_count (int): Tokens seen less often are left out.
            tokenizer (str): How the captions were split.
        """
        counts = Counter()
        for tokens in captions:
            counts.update(tokens)
        frequent = (
            token
            for token, count in counts.items()
            if count >= min_count and token not in SPECIAL_TOKENS
        )
        by_frequency = sorted(frequent, key=lambda token: (-counts[token], token))
        return cls((*SPECIAL_TOKENS, *by_frequency), tokenizer)

    def write_to(self, file):
        """Adds the vocabulary to an open HDF5 file."""
        write_text(file, 'tokenizer', self.tokenizer)
        write_texts(file, 'vocabulary', self.tokens)

    @classmethod
    def read_from(cls, file) -> 'Vocabulary':
        """Reads what :meth:`write_to` wrote."""
        return cls(read_texts(file, 'vocabulary'), read_text(file, 'tokenizer'))

    def __len__(self):
        return len(self.tokens)

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and (
            (self.tokens, self.tokenizer) == (other.tokens, other.tokenizer)
        )

    def encode(self, tokens: list[str]) -> list[int]:
        """Returns the index of each token, that of ``<UNK>`` for unknown ones."""
        return [self._indices.get(token, UNK) for token in tokens]

    def decode(self, indices) -> str:
        """Returns the caption that indices stand for, without ``<S>`` and ``</S>``."""
        return SEPARATORS[self.tokenizer].join(
            self.tokens[index] for index in numpy.asarray(indices, int) if index not in (BOS, EOS)
        )
