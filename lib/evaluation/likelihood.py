"""The likelihood of reference captions."""

import chainer

from lib.captions.packing import pack
from lib.decoding.rescoring import token_log_probs


def mean_log_prob(model, dataset, indices, features, batch_size: int = 256) -> float:
    """Computes the mean log-probability of the tokens of some captions.

    Its negative is the validation loss that ``train.py`` reports, here for everything that
    captions can be decoded with, such as an ensemble.

    Args:
        model: As for :func:`lib.decoding.beam_search.beam_search`.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        indices (array): Which captions, (n,), integers.
        features (lib.features.table.FeatureTable or array): One row per ``imgid``, (N, D), on the
            model's device or sent there.
        batch_size (int): Captions at a time.

    Returns:
        float: Nats per token, ``</S>`` included.
    """
    total = n_tokens = 0
    for start in range(0, len(indices), batch_size):
        order, inputs, targets, batch_sizes = pack(dataset, indices[start : start + batch_size])
        batch = features[dataset.imgid[dataset.image[order]]]
        send = chainer.backend.get_device_from_array(batch).send
        log_probs = token_log_probs(model, batch, send(inputs), send(targets), batch_sizes)
        total += float(log_probs.sum(dtype='float64'))
        n_tokens += len(targets)
    return total / n_tokens
