"""The captions that a beam search keeps."""

from typing import NamedTuple

from lib.captions.vocabulary import BOS, EOS


class Slots(NamedTuple):
    """Captions of B images, M slots for each image, best first.

    Attributes:
        scores (array): Sums of log-probabilities after constraints are applied, (B, M),
            float64; ``-inf`` in a vacant slot.
        log_probs (array): Log-probabilities that the model gives, (B, M), float64.
        tokens (array): Tokens; ``</S>`` from the first ``</S>`` on, (B, M, max_length), int32.
        lengths (array): Number of tokens, ``</S>`` included, (B, M), int32.
        is_finished (array): Whether captions have ended, (B, M), bool.
        is_unfinished (array): Whether slots contain captions that can still be extended,
            (B, M), bool.
        last_tokens (array): Last tokens, ``<S>`` in the beginning, (B, M), int32.
        state_rows (array): The row of each unfinished caption in the network's state, (B, M),
            int64.
    """

    scores: object
    log_probs: object
    tokens: object
    lengths: object
    is_finished: object
    is_unfinished: object
    last_tokens: object
    state_rows: object

    @classmethod
    def empty(cls, xp, n_images, width, max_length):
        """Returns slots that contain one empty caption of each image.

        Args:
            xp (module): ``numpy`` or ``cupy``.
            n_images, width, max_length (int): B, M and the maximum number of tokens.
        """
        shape = n_images, width
        is_first = xp.zeros(shape, bool)
        is_first[:, 0] = True
        return cls(
            scores=xp.where(is_first, 0, -xp.inf),
            log_probs=xp.zeros(shape, 'float64'),
            tokens=xp.full((*shape, max_length), EOS, 'int32'),
            lengths=xp.ones(shape, 'int32'),
            is_finished=xp.zeros(shape, bool),
            is_unfinished=is_first,
            last_tokens=xp.full(shape, BOS, 'int32'),
            state_rows=xp.zeros(shape, 'int64') + xp.arange(n_images)[:, None],
        )
