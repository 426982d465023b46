"""What a model thinks of captions that people wrote."""

from lib.minibatch import pack

import chainer


def mean_log_prob(model, captions, indices, features, batch_size=256):
    """Computes the mean log-probability of a word of some captions.

    Its negative is the loss that ``train.py`` reports for validation, here for anything that
    beam search can decode with.

    Args:
        model: As :func:`lib.beam_search.beam_search` takes it.
        captions (lib.caption_file.Captions): The data set.
        indices (array): Which captions, (n,), integers.
        features (array): One row per ``imgid``, (N, D), on the model's device.
        batch_size (int): Captions at once.

    Returns:
        float: In nats a word, the end word included.
    """
    send = chainer.backend.get_device_from_array(features).send
    total = n_words = 0
    for start in range(0, len(indices), batch_size):
        order, inputs, targets, batch_sizes = pack(captions, indices[start:start + batch_size])
        columns = captions.imgid[captions.image[order]]
        total += _packed_log_prob(model, features[send(columns)], send(inputs), send(targets),
                                  batch_sizes)
        n_words += len(targets)
    return total / n_words


def _packed_log_prob(model, features, inputs, targets, batch_sizes):
    xp = chainer.backend.get_array_module(features)
    state, first, total = model.start(features), 0, 0
    for size in batch_sizes:
        rows = slice(first, first + size)
        log_probs, state = model.step(inputs[rows], tuple(array[:size] for array in state))
        total += log_probs[xp.arange(size), targets[rows]].sum(dtype='float64')
        first += size
    return float(total)
