"""Ensembles of trained models."""

import chainer

from lib.decoding.state import start, step
from lib.errors import InputError
from lib.trained_model import TrainedModel


class Ensemble:
    """Models that average their probabilities of each next token, or a single model.

    These are the "ensembling models" of Section 4.3 of Show and Tell. All decoders take an
    ensemble; its state is a tuple of the states of its networks, whose sizes may differ.

    Args:
        models (sequence of lib.trained_model.TrainedModel): On the same device.

    Attributes:
        vocabulary (lib.captions.vocabulary.Vocabulary): The vocabulary of all models.
        feature_source (lib.features.feature_source.FeatureSource): How the features of all
            models were extracted, None if unknown.
        networks (list of models.network.Network): The networks of the models.

    Raises:
        InputError: If the models differ in vocabulary or features.
    """

    def __init__(self, models):
        self.models = tuple(models)
        if not self.models:
            raise InputError('no models given')
        first, *others = self.models
        for model in others:
            _check_compatible(model, first)
        self.vocabulary = first.vocabulary
        self.feature_source = first.feature_source
        self.networks = [model.network for model in self.models]

    @classmethod
    def load(cls, paths: list[str], device) -> 'Ensemble':
        """Reads models from files.

        Args:
            paths (list of str): Files that ``train.py`` wrote.
            device (chainer.backend.Device): Where to compute.

        Raises:
            InputError: If a file is not a model, or the models differ in vocabulary or
                features.
        """
        ensemble = cls([TrainedModel.load(path) for path in paths])
        for model in ensemble.models:
            model.network.to_device(device)
        return ensemble

    @property
    def device(self):
        """The device of the networks."""
        return self.networks[0].device

    def start(self, features):
        """Feeds images, (B, D), to every network; returns their states."""
        return tuple(start(network, features) for network in self.networks)

    def step(self, tokens, state):
        """Feeds one token to each of n captions in every network.

        Args:
            tokens (array): Token indices, (n,), int32.
            state (tuple): From :meth:`start` or the step before.

        Returns:
            tuple: Logarithms, in nats, of the mean probabilities of every next token, (n, V),
            and the new state.
        """
        xp = chainer.backend.get_array_module(tokens)
        total = None
        new_state = []
        for network, network_state in zip(self.networks, state):
            log_probs, network_state = step(network, tokens, network_state)
            # In logarithms, since a probability may be too small for a float.
            total = log_probs if total is None else xp.logaddexp(total, log_probs, out=total)
            new_state.append(network_state)
        if len(self.networks) > 1:
            total -= xp.log(xp.asarray(len(self.networks), total.dtype))
        return total, tuple(new_state)


def _check_compatible(model, first):
    for name, value, expected in (
        ('vocabulary', model.vocabulary, first.vocabulary),
        ('feature size', model.network.feature_size, first.network.feature_size),
        ('feature source', model.feature_source, first.feature_source),
    ):
        if value != expected:
            raise InputError(
                f'{model.path}: was trained with another {name} than {first.path}; the models of '
                'an ensemble must share it'
            )
