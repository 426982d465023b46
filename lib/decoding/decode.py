"""Captioning images by any search, and ranking the captions."""

import inspect
import itertools
import math

from lib.decoding.beam_search import beam_search
from lib.decoding.caption import Caption
from lib.decoding.constraints import make_constraints
from lib.decoding.diverse_beam_search import diverse_beam_search
from lib.decoding.minimum_bayes_risk import mbr_rerank
from lib.decoding.rescoring import rescore
from lib.decoding.sampling import sample

# What the option ``search`` chooses. Each takes a model, features, and those of ``constraints`` and
# the fields of DecodingOptions that its parameters name.
SEARCHES = {'beam': beam_search, 'diverse': diverse_beam_search, 'sample': sample}


def takes(search: str, option: str) -> bool:
    """Returns whether a search takes an option.

    >>> takes('sample', 'beam_width')
    False
    """
    return option in inspect.signature(SEARCHES[search]).parameters


def decode(ensemble, features, options, references=None) -> list[list[Caption]]:
    """Captions images.

    The networks of an ensemble search together, by the mean of their probabilities. For minimum
    Bayes risk each searches by itself, which gives a larger and more varied set to rank; the
    captions returned then have the log-probabilities of the ensemble.

    Args:
        ensemble (lib.decoding.ensemble.Ensemble): The models.
        features (array): Image features, (B, D), float.
        options (lib.decoding.options.DecodingOptions): How to decode them.
        references (list of lib.decoding.neighbors.References): With ``mbr_neighbors``, captions of
            images that are similar to each image.

    Returns:
        list of list of Caption: For each image its captions, best first.
    """
    constraints = make_constraints(options)
    if not (options.mbr_samples or options.mbr_neighbors):
        return _search(ensemble, features, options, constraints)
    networks = ensemble.networks
    beams = [
        _search(network, features, options, constraints, top=options.beam_width)
        for network in networks
    ]
    candidates = beams[0] if len(networks) == 1 else [_merge(*best) for best in zip(*beams)]
    reranked = mbr_rerank(
        ensemble,
        features,
        candidates,
        options.mbr_samples,
        options.temperature,
        options.max_length,
        references,
    )
    captions = [best[: options.top] for best in reranked]
    if len(networks) > 1:
        captions = rescore(ensemble, features, captions, options.max_length)
    return captions


def _search(model, features, options, constraints, **changes):
    search = SEARCHES[options.search]
    known = {**vars(options), 'constraints': constraints, **changes}
    taken = inspect.signature(search).parameters.keys() & known.keys()
    return search(model, features, **{name: known[name] for name in taken})


def _merge(*beams):
    """Returns the captions that several networks have found of an image, most probable first."""
    captions = sorted(itertools.chain(*beams), key=lambda caption: -caption.log_prob)
    distinct = {}
    for caption in captions:
        distinct.setdefault(tuple(caption.tokens), caption)
    # A network that has found none returns one that is impossible.
    possible = [caption for caption in distinct.values() if math.isfinite(caption.log_prob)]
    return possible or captions[:1]
