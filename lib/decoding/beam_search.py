"""Beam search over many images at once."""

import chainer
import numpy

from lib.captions.vocabulary import BOS
from lib.decoding import beam_cpu, beam_gpu
from lib.decoding.beam_cpu import Slots
from lib.decoding.caption import Caption, until_eos
from lib.decoding.state import select, start, step


def beam_search(
    model,
    features,
    beam_width: int = 20,
    top: int = 5,
    max_length: int = 60,
    length_normalization: float = 0,
    constraints=(),
) -> list[list[Caption]]:
    """Finds the most probable captions (Section 3.1, "Inference", of Show and Tell).

    None contains ``<S>``, which is never a target in training.

    The ``beam_width`` best captions of an image, finished and unfinished ones together, are
    extended by every token, and the best ``beam_width`` of the results kept. Captions that
    are not finished after ``max_length`` tokens are returned as they are.

    Args:
        model: A network or an ensemble, see :func:`lib.decoding.state.start`.
        features (array): Image features, (B, D), float.
        beam_width (int): The paper's beam size, M.
        top (int): Number of captions to return, at most ``beam_width``.
        max_length (int): Maximum number of tokens of a caption.
        length_normalization (float): Captions of n tokens, ``</S>`` included, are ranked by
            their log-probability divided by n to this power; 0 ranks by log-probability.
        constraints (sequence of callable): See :mod:`lib.decoding.constraints`.

    Returns:
        list of list of Caption: For each image at most ``top`` captions, at least one, best
        first.
    """
    # Log-probabilities only fall as captions grow, so a caption below ``top`` finished ones can
    # never rise above them. Dropping it ends the search sooner and does not change the result.
    # Length-normalized scores may rise.
    kept = top if length_normalization == 0 else beam_width
    beam = Beam(model, features, beam_width, max_length, length_normalization, kept)
    while beam.is_running:
        beam.advance(constraints)
    return beam.captions(top)


class Beam:
    """The best captions so far of each image.

    Args:
        model, features, max_length, length_normalization: As for :func:`beam_search`.
        width (int): Captions of each image, M.
        top (int): Drop captions that rank below this many finished ones; by default none.

    Attributes:
        slots (lib.decoding.beam_cpu.Slots): The captions.
    """

    def __init__(self, model, features, width, max_length, length_normalization=0, top=None):
        self._model = model
        self._max_length = max_length
        self._length_normalization = length_normalization
        self._top = top or width
        self._xp = chainer.backend.get_array_module(features)
        self._extend = (beam_cpu if self._xp is numpy else beam_gpu).extend
        self.slots = Slots.empty(self._xp, len(features), width, max_length)
        self._state = start(model, features)
        self._n_steps = 0
        self._find_unfinished()

    @property
    def is_running(self):
        """Whether another step would change anything."""
        return self._n_steps < self._max_length and self._unfinished.size > 0

    def advance(self, constraints=()):
        """Extends every unfinished caption by every token and keeps the best of each image."""
        slots = self.slots
        unfinished = self._unfinished
        log_probs, self._state = step(
            self._model,
            slots.last_tokens.ravel()[unfinished],
            select(self._state, slots.state_rows.ravel()[unfinished]),
        )
        log_probs[:, BOS] = -numpy.inf
        ranked = log_probs
        if constraints:
            # Copied, so that the captions keep the log-probabilities that the model gives.
            ranked = log_probs.copy()
            tokens = slots.tokens.reshape(-1, self._max_length)[unfinished, : self._n_steps]
            images = unfinished // slots.scores.shape[1]
            for constrain in constraints:
                constrain(ranked, tokens, images)
        self.slots = self._extend(
            slots,
            unfinished,
            log_probs,
            ranked,
            self._n_steps,
            self._length_normalization,
            self._top,
        )
        self._n_steps += 1
        self._find_unfinished()

    def _find_unfinished(self):
        # The only wait for a GPU: the host needs their number.
        self._unfinished = self._xp.flatnonzero(self.slots.is_unfinished)

    def captions(self, top):
        """Returns the best captions of each image, at most ``top``, at least one."""
        to_cpu = chainer.get_device('@numpy').send
        scores, log_probs, tokens = (
            to_cpu(array[:, :top])
            for array in (self.slots.scores, self.slots.log_probs, self.slots.tokens)
        )
        captions = [
            [
                Caption(until_eos(caption.tolist()), float(log_prob))
                for score, log_prob, caption in zip(*arrays)
                if score > -float('inf')
            ]
            for arrays in zip(scores, log_probs, tokens)
        ]
        # If training diverged, no caption has a finite log-probability.
        return [best or [Caption([], -float('inf'))] for best in captions]
