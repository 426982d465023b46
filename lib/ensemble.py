"""Several trained models that caption together."""

from lib.errors import InputError
from lib.trained_model import TrainedModel

import chainer


class Ensemble:
    """Averages the word probabilities of networks at each step.

    These are the "ensembling models" of Section 4.3 of Show and Tell. Its ``start`` and
    ``step`` are those that :func:`lib.beam_search.beam_search` wants; states lie side by side
    in one tuple. The networks' hidden sizes may differ.

    Args:
        networks (sequence of models.show_and_tell.ShowAndTell): On the same device, with the
            same vocabulary and feature size.
    """

    def __init__(self, networks):
        self.networks = tuple(networks)
        self._n_arrays = [2 * network.hyperparameters['n_layers'] for network in self.networks]

    def start(self, features):
        """Shows the images, (B, D), to every network; returns their states."""
        return tuple(array for network in self.networks for array in network.start(features))

    def step(self, tokens, state):
        """Feeds one word to each of n sentences in every network.

        Args:
            tokens (array): Word indices, (n,), int32.
            state (tuple of arrays): From :meth:`start` or the step before.

        Returns:
            tuple: Logarithms in nats of the mean probabilities of every next word, (n, V), and
            the new state.
        """
        xp = chainer.backend.get_array_module(tokens)
        total, new_state = None, ()
        for network, n_arrays in zip(self.networks, self._n_arrays):
            first = len(new_state)
            log_probs, part = network.step(tokens, state[first:first + n_arrays])
            # In logarithms: a word may be too improbable for its probability to be a float.
            total = log_probs if total is None else xp.logaddexp(total, log_probs, out=total)
            new_state += part
        if len(self.networks) > 1:
            total -= xp.log(xp.asarray(len(self.networks), total.dtype))
        return total, new_state


def load_models(paths, device):
    """Reads models that can work together and brings them to a device.

    Args:
        paths (list of str): Files that ``train.py`` wrote.
        device (chainer.backend.Device): Where they shall compute.

    Returns:
        tuple: An :class:`Ensemble` of the networks, and the first
        :class:`lib.trained_model.TrainedModel`, for its vocabulary and feature source.

    Raises:
        InputError: If a file is no model, or they differ in vocabulary or features.
    """
    models = _load_alike(paths)
    for model in models:
        model.network.to_device(device)
    return Ensemble(model.network for model in models), models[0]


def average_weights(paths):
    """Makes one model of several, such as the last epochs of a training.

    Args:
        paths (list of str): Files that ``train.py`` wrote.

    Returns:
        lib.trained_model.TrainedModel: The first model with the mean of all weights, on the CPU.

    Raises:
        InputError: If a file is no model, or they differ in vocabulary, features or sizes.
    """
    first, *others = _load_alike(paths)
    for path, model in zip(paths[1:], others):
        if _sizes(model) != _sizes(first):
            raise InputError(f'--average: {path} has other sizes than {paths[0]}')
    for params in zip(*(model.network.params() for model in (first, *others))):
        for param in params[1:]:
            params[0].array += param.array
        params[0].array /= len(paths)
    return first


def _sizes(model):
    return {**model.network.hyperparameters, 'dropout': None}


def _load_alike(paths):
    models = [TrainedModel.load(path) for path in paths]
    for path, model in zip(paths[1:], models[1:]):
        for name, ours, first in (
                ('words', model.vocabulary, models[0].vocabulary),
                ('feature size', *(each.network.hyperparameters['feature_size']
                                   for each in (model, models[0]))),
                ('features', model.feature_source, models[0].feature_source)):
            if ours != first:
                raise InputError(f'{path}: was trained with other {name} than {paths[0]}; '
                                 'models that caption together need the same')
    return models
