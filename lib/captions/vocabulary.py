"""Tokens and their indices."""

from collections import Counter

import numpy

from lib.captions.tokenizer import SEPARATORS
from lib.hdf5 import write_text, write_texts

BOS, EOS, UNK = 0, 1, 2
SPECIAL_TOKENS = ('<S>', '</S>', '<UNK>')


class Vocabulary:
    """The tokens that a model knows; index 0 is ``<S>``, 1 ``</S>`` and 2 ``<UNK>``.

    Args:
        tokens (iterable of str): All tokens in the order of their indices.
        tokenizer (str): How captions are split into them, see
            :func:`lib.captions.tokenizer.tokenize`.

    Raises:
        ValueError: If the special tokens are not the first three, a token is empty or repeated,
            or the tokenizer is unknown.
    """

    def __init__(self, tokens, tokenizer='words'):
        self.tokens, self.tokenizer = tuple(tokens), tokenizer
        if self.tokens[: len(SPECIAL_TOKENS)] != SPECIAL_TOKENS:
            raise ValueError(f'a vocabulary begins with {", ".join(SPECIAL_TOKENS)}')
        # Without the special tokens: a caption that contains "</S>" must not end there.
        self._indices = {
            token: index for index, token in enumerate(self.tokens) if index >= len(SPECIAL_TOKENS)
        }
        if len(self._indices) + len(SPECIAL_TOKENS) != len(self.tokens):
            raise ValueError('a vocabulary contains every token once')
        if '' in self._indices:
            raise ValueError('a vocabulary has no empty token')
        if tokenizer not in SEPARATORS:
            raise ValueError(f'unknown tokenizer "{tokenizer}"')

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
        """Reads the vocabulary in a :class:`lib.checked_hdf5.CheckedGroup`.

        Raises:
            ValueError: If it is not a vocabulary.
        """
        # In version 1 of the formats the tokenizer was called "tokens", and could be missing.
        name = 'tokens' if file.version == 1 else 'tokenizer'
        tokenizer = file.text(name, default='words')
        return cls(file.texts('vocabulary', 'tokens of the vocabulary'), tokenizer)

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
