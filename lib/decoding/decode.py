"""Decoding with the options of a script, a notebook or a server."""

import dataclasses
import itertools
import math
import numbers
from dataclasses import dataclass

import numpy

from lib.decoding.beam_search import beam_search
from lib.decoding.caption import Caption
from lib.decoding.constraints import MinimumLength, NoRepeatedNgrams
from lib.decoding.diverse_beam_search import diverse_beam_search
from lib.decoding.ensemble import Ensemble
from lib.decoding.minimum_bayes_risk import mbr_rerank
from lib.decoding.rescoring import rescore
from lib.decoding.sampling import sample
from lib.errors import InputError

# The smallest and the largest value of each option. Larger ones take all memory or time, or
# make scores that no float can hold.
LIMITS = {
    'beam_width': (1, 10_000),
    'top': (1, 10_000),
    'max_length': (1, 10_000),
    'min_length': (0, 10_000),
    'length_normalization': (0, 10),
    'no_repeat_ngram': (0, 10_000),
    'beam_groups': (1, 100),
    'diversity_penalty': (0, 1000),
    'mbr_samples': (0, 10_000),
    'mbr_neighbors': (0, 10_000),
    'temperature': (0.001, 1000),
}


DEFAULT_TOP = 5
# What options of each type may be.
KINDS = {int: numbers.Integral, float: numbers.Real, bool: (bool, numpy.bool_)}


@dataclass(frozen=True)
class DecodingOptions:
    """How captions are decoded: by beam search, unless other options are set.

    Attributes:
        beam_width (int): Captions kept at each step.
        top (int): Captions to return for each image; by default 5, or the beam width if that
            is less.
        max_length, min_length (int): Maximum and minimum number of tokens of a caption.
        length_normalization (float): See :func:`lib.decoding.beam_search.beam_search`.
        no_repeat_ngram (int): Let no n-gram of this n occur twice in a caption; 0 allows it.
        beam_groups (int): More than 1 selects diverse beam search, see
            :func:`lib.decoding.diverse_beam_search.diverse_beam_search`.
        diversity_penalty (float): Its penalty, in nats.
        mbr_samples (int): More than 0 reranks all captions found by minimum Bayes risk against this
            many samples, see :func:`lib.decoding.minimum_bayes_risk.mbr_rerank`.
        mbr_neighbors (int): More than 0 reranks all captions found by minimum Bayes risk against
            the captions of this many similar images of an index, see :mod:`lib.decoding.neighbors`.
        bad_endings (bool): Let captions end with tokens with which no training caption ends, as in
            "a dog in front of a". Older models do not know these tokens.
        stutter (bool): Let captions say up to ten words twice in a row, as in "a dog dog runs".
        sample (bool): Draw captions at random instead of searching.
        temperature (float): Temperature at which captions are drawn.

    Raises:
        InputError: If an option is out of range, or options contradict each other.
    """

    beam_width: int = 20
    top: int = None
    max_length: int = 60
    min_length: int = 0
    length_normalization: float = 0
    no_repeat_ngram: int = 0
    beam_groups: int = 1
    diversity_penalty: float = 0.5
    mbr_samples: int = 0
    mbr_neighbors: int = 0
    bad_endings: bool = False
    stutter: bool = False
    sample: bool = False
    temperature: float = 1.0

    def __post_init__(self):
        if self.top is None:
            is_narrow = not self.sample and self.beam_width in range(1, DEFAULT_TOP)
            object.__setattr__(self, 'top', self.beam_width if is_narrow else DEFAULT_TOP)
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), KINDS[field.type]
            if not isinstance(value, kind) or (isinstance(value, bool) and field.type is not bool):
                raise InputError(f'{value!r} is not of type {field.type.__name__}', field.name)
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f'{getattr(self, name)} is not from {low} to {high}', option=name)
        if self.top > self.beam_width and not self.sample:
            raise InputError(f'{self.top} exceeds the beam width {self.beam_width}', option='top')
        if self.beam_width % self.beam_groups:
            raise InputError(
                f'{self.beam_groups}: a beam of width {self.beam_width} cannot be divided into '
                'this many equal groups',
                option='beam_groups',
            )
        if self.min_length > self.max_length:
            raise InputError(
                f'{self.min_length} exceeds the maximum length {self.max_length}',
                option='min_length',
            )
        if self.sample and self.beam_groups > 1:
            raise InputError('cannot be combined with sampling', option='beam_groups')
        for name in 'mbr_samples', 'mbr_neighbors':
            if self.sample and getattr(self, name):
                raise InputError('cannot be combined with sampling', option=name)

    @property
    def constraints(self):
        """The constraints that need no model, see :mod:`lib.decoding.constraints`."""
        constraints = []
        if self.min_length:
            constraints.append(MinimumLength(self.min_length))
        if self.no_repeat_ngram:
            constraints.append(NoRepeatedNgrams(self.no_repeat_ngram))
        return constraints


def decode(
    model, features, options: DecodingOptions, references=None, constraints=()
) -> list[list[Caption]]:
    """Captions images.

    The networks of an ensemble search together, by the mean of their probabilities. For minimum
    Bayes risk each searches by itself, which gives a larger and more varied set to rank; the
    captions returned then have the log-probabilities of the ensemble.

    Args:
        model: As for :func:`lib.decoding.beam_search.beam_search`; may be a
            :class:`lib.decoding.ensemble.Ensemble`.
        features (array): Image features, (B, D), float.
        options (DecodingOptions): How to decode them.
        references (list of lib.decoding.neighbors.References): With ``mbr_neighbors``, captions of
            images that are similar to each image.
        constraints (sequence of callable): Besides those of the options, see
            :func:`lib.decoding.constraints.fault_constraints`.

    Returns:
        list of list of Caption: For each image its captions, best first.
    """
    constraints = [*options.constraints, *constraints]
    if options.sample:
        return sample(
            model, features, options.top, options.temperature, options.max_length, constraints
        )
    if not (options.mbr_samples or options.mbr_neighbors):
        return _search(model, features, options, options.top, constraints)
    networks = model.networks if isinstance(model, Ensemble) else [model]
    beams = [
        _search(network, features, options, options.beam_width, constraints) for network in networks
    ]
    candidates = beams[0] if len(networks) == 1 else [_merge(*found) for found in zip(*beams)]
    reranked = mbr_rerank(
        model,
        features,
        candidates,
        options.mbr_samples,
        options.temperature,
        options.max_length,
        references,
    )
    captions = [best[: options.top] for best in reranked]
    if len(networks) > 1:
        captions = rescore(model, features, captions, options.max_length)
    return captions


def _search(model, features, options, top, constraints):
    search = {
        'beam_width': options.beam_width,
        'top': top,
        'max_length': options.max_length,
        'length_normalization': options.length_normalization,
        'constraints': constraints,
    }
    if options.beam_groups > 1:
        return diverse_beam_search(
            model, features, options.beam_groups, options.diversity_penalty, **search
        )
    return beam_search(model, features, **search)


def _merge(*beams):
    """Returns the captions that several networks have found of an image, most probable first."""
    captions = sorted(itertools.chain(*beams), key=lambda caption: -caption.log_prob)
    distinct = {}
    for caption in captions:
        distinct.setdefault(tuple(caption.tokens), caption)
    # A network that has found none returns one that is impossible.
    possible = [caption for caption in distinct.values() if math.isfinite(caption.log_prob)]
    return possible or captions[:1]
