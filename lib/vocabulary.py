"""Words and their indices."""

from collections import Counter

from lib.tokens import SEPARATORS

import numpy

START, END, UNKNOWN = 0, 1, 2
SPECIAL_WORDS = ('<S>', '</S>', '<UNK>')


class Vocabulary:
    """The words a model knows. Index 0 is ``<S>``, 1 ``</S>`` and 2 ``<UNK>``.

    Args:
        words (iterable of str): All words in the order of their indices.
        unit (str): What they are, ``'words'`` or ``'characters'``; see :mod:`lib.tokens`.

    Raises:
        ValueError: If the special words are not in their places or a word is there twice.
    """

    def __init__(self, words, unit='words'):
        self.words, self.unit = tuple(words), unit
        if self.words[:len(SPECIAL_WORDS)] != SPECIAL_WORDS:
            raise ValueError(f'a vocabulary begins with {", ".join(SPECIAL_WORDS)}')
        # A caption that happens to hold the text "</S>" must not end there.
        self._indices = {word: index for index, word in enumerate(self.words)
                         if index >= len(SPECIAL_WORDS)}
        if len(self._indices) + len(SPECIAL_WORDS) != len(self.words):
            raise ValueError('a vocabulary holds every word once')

    @classmethod
    def from_captions(cls, captions, min_count, unit='words'):
        """Collects the words seen ``min_count`` times or more, the most frequent first.

        Args:
            captions (iterable of list of str): Tokenised captions.
            min_count (int): Rarer words are left out.
            unit (str): What they are.
        """
        counts = Counter()
        for tokens in captions:
            counts.update(tokens)
        frequent = (word for word, count in counts.items()
                    if count >= min_count and word not in SPECIAL_WORDS)
        return cls((*SPECIAL_WORDS, *sorted(frequent, key=lambda word: (-counts[word], word))),
                   unit)

    def __len__(self):
        return len(self.words)

    def __eq__(self, other):
        return (isinstance(other, Vocabulary)
                and (self.words, self.unit) == (other.words, other.unit))

    def encode(self, tokens):
        """Returns the index of each token, that of ``<UNK>`` for unknown ones."""
        return [self._indices.get(token, UNKNOWN) for token in tokens]

    def decode(self, indices):
        """Returns the words of a sentence as one string, without start and end words."""
        return SEPARATORS[self.unit].join(self.words[index] for index in numpy.asarray(indices, int)
                        if index not in (START, END))
