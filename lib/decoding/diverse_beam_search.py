"""Beam search whose captions differ from each other."""

import itertools

import chainer

from lib.decoding.beam_search import Beam
from lib.decoding.caption import Caption


def diverse_beam_search(
    model,
    features,
    beam_groups: int = 5,
    diversity_penalty: float = 0.5,
    beam_width: int = 20,
    top: int = 5,
    max_length: int = 60,
    length_normalization: float = 0,
    constraints=(),
) -> list[list[Caption]]:
    """Searches in groups that avoid each other's tokens (Vijayakumar et al., arXiv:1610.02424).

    This is Algorithm 1 of the paper with Hamming diversity: in each step, one group after the
    other, a token costs the penalty for every time an earlier group has added it to a caption
    of the same image; ``</S>`` costs nothing.

    Args:
        model, features, max_length, length_normalization, constraints: As for
            :func:`lib.decoding.beam_search.beam_search`.
        beam_groups (int): Number of groups that the beam is divided into.
        diversity_penalty (float): Cost of a token, in nats.
        beam_width (int): Captions kept at each step, in all groups together.
        top (int): Number of captions to return, taken from the groups in turn.

    Returns:
        list of list of Caption: For each image its captions, most probable first.

    Raises:
        ValueError: If ``beam_width`` is not a multiple of ``beam_groups``.
    """
    if beam_width % beam_groups:
        raise ValueError(f'a beam of {beam_width} cannot be divided into {beam_groups} groups')
    group_width = beam_width // beam_groups
    groups = [
        Beam(model, features, group_width, max_length, length_normalization)
        for _ in range(beam_groups)
    ]
    while any(group.is_running for group in groups):
        diversity = HammingDiversity(len(features), diversity_penalty)
        for group in groups:
            if group.is_running:
                group.advance((*constraints, diversity))
                diversity.add(group.slots.last_tokens, group.slots.is_unfinished)
    captions_of_groups = [group.captions(group_width) for group in groups]
    return [_take_in_turn(captions, top) for captions in zip(*captions_of_groups)]


class HammingDiversity:
    """Lowers a token's log-probability for each time an earlier group chose it in this step.

    Args:
        n_images (int): Number of images, B.
        penalty (float): Subtracted each time, in nats.
    """

    def __init__(self, n_images, penalty):
        self._n_images = n_images
        self._penalty = penalty
        self._chosen = []

    def add(self, tokens, is_chosen):
        """Adds the last tokens of a group's captions, where they count, (B, M) each."""
        self._chosen.append((tokens, is_chosen))

    def __call__(self, log_probs, tokens, images):
        xp = chainer.backend.get_array_module(log_probs)
        costs = xp.zeros((self._n_images, log_probs.shape[1]), log_probs.dtype)
        for chosen, is_chosen in self._chosen:
            image = xp.arange(self._n_images)[:, None]
            xp.add.at(costs, (image, xp.where(is_chosen, chosen, 0)), self._penalty * is_chosen)
        log_probs -= costs[images]


def _take_in_turn(captions_of_groups, top):
    """Takes ``top`` captions from the groups in turn and sorts them by log-probability.

    What several groups have found counts once, unless there are too few captions.
    """
    distinct = {}
    repeated = []
    for caption in itertools.chain(*itertools.zip_longest(*captions_of_groups)):
        if caption is not None:
            first = distinct.setdefault(tuple(caption.tokens), caption)
            if first is not caption:
                repeated.append(caption)
    captions = [*distinct.values(), *repeated]
    return sorted(captions[:top], key=lambda caption: -caption.log_prob)
