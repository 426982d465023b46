"""What all networks have in common: standardized features, and the loss that training minimizes."""

import chainer
import chainer.functions as F

from models.scheduled_sampling import apply_scheduled_sampling


class Network(chainer.Chain):
    """A caption generator, which predicts a caption token by token.

    A subclass builds its links and defines :meth:`start` and :meth:`step` with Chainer's functions.
    From these follow the loss of a batch and all decoders. :mod:`models.plain` is an example; a
    subclass may override the other methods to compute the same faster.

    Args:
        feature_size (int): Size D of the image features.
        vocabulary_size (int): Number V of tokens, special ones included.
        embed_size (int): Size E of the embedding of tokens.
        hidden_size (int): Size H of the recurrent layers.
        dropout (float): Share of the values that dropout sets to zero, in [0, 1).
        n_layers (int): Number of recurrent layers.
        others: Further arguments of the subclass, which model files are to contain.

    Attributes:
        dropout (float): As given; training may change it.
        label_smoothing (float): Share of a target's probability that is spread evenly over all
            tokens (Section 7 of Szegedy et al., arXiv:1512.00567), in [0, 1); initially 0.
        sampling_probability (float): Probability of feeding in a predicted token in training
            instead of the correct one, see :mod:`models.scheduled_sampling`; initially 0.
        feature_mean (array): Subtracted from the features, (D,); initially 0.
        feature_scale (array): Factor of the centered features, (D,); initially 1.
    """

    def __init__(
        self,
        feature_size,
        vocabulary_size,
        embed_size=512,
        hidden_size=512,
        dropout=0.5,
        n_layers=1,
        **others,
    ):
        super().__init__()
        self.dropout = dropout
        self.label_smoothing = 0
        self.sampling_probability = 0
        self._hyperparameters = {
            'feature_size': feature_size,
            'vocabulary_size': vocabulary_size,
            'embed_size': embed_size,
            'hidden_size': hidden_size,
            'n_layers': n_layers,
            **others,
        }
        self.add_persistent('feature_mean', self.xp.zeros(feature_size, chainer.get_dtype()))
        self.add_persistent('feature_scale', self.xp.ones(feature_size, chainer.get_dtype()))

    @staticmethod
    def estimate_count(feature_size, vocabulary_size, embed_size, hidden_size, n_layers=1) -> int:
        """Returns about how many parameters a network of some size has, without building it.

        They are those of LSTMs between an image projection and a softmax. A network that has many
        more should override this.
        """
        projection = feature_size * embed_size
        tokens = vocabulary_size * (embed_size + hidden_size)
        layers = 4 * hidden_size * (embed_size + (2 * n_layers - 1) * hidden_size)
        return projection + tokens + layers

    @property
    def hyperparameters(self) -> dict:
        """The arguments that make a network of the same shape, JSON values."""
        return {**self._hyperparameters, 'dropout': self.dropout}

    @property
    def feature_size(self) -> int:
        """Size of the image features."""
        return self._hyperparameters['feature_size']

    def start(self, features):
        """Shows images to the network.

        Args:
            features (array): (B, D), float.

        Returns:
            tuple of chainer.Variable or array: The state before ``<S>``, of any number of arrays
            whose first axis is images. Decoders choose, repeat and drop rows of a state.
        """
        raise NotImplementedError

    def step(self, tokens, state):
        """Feeds one token to each of n captions.

        Args:
            tokens (array): Token indices, (n,), int32.
            state (tuple of chainer.Variable or array): From :meth:`start` or the step before, n
                rows each.

        Returns:
            tuple: Log-probabilities, in nats, of every next token, (n, V), and the new state.
        """
        raise NotImplementedError

    def try_out(self):
        """Checks on two images that :meth:`start` and :meth:`step` return what they should.

        Raises:
            TypeError: If they do not.
        """
        features = self.xp.zeros((2, self.feature_size), self.feature_mean.dtype)
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            state = self.start(features)
            log_probs, next_state = self.step(self.xp.zeros(2, 'int32'), state)
        for values in state, next_state:
            if not isinstance(values, tuple) or any(len(value) != 2 for value in values):
                raise TypeError('a state must be a tuple of arrays with a row for each image')
        totals = self.xp.exp(chainer.as_array(log_probs)).sum(axis=1)
        if log_probs.shape != (2, self._hyperparameters['vocabulary_size']) or (
            abs(totals - 1).max() > 1e-3
        ):
            raise TypeError('step() must return log-probabilities of all tokens')

    def forward(self, batch):
        """Computes and reports the loss of a batch of captions.

        Args:
            batch (lib.captions.batch.Batch): The captions.

        Returns:
            chainer.Variable: The loss that training minimizes, in nats (Eq. 13 of Show and Tell).
            Reported are ``loss``, the mean negative log-likelihood of the targets without label
            smoothing, and ``accuracy``, the share of them that have the highest probability, both
            weighted by the number of targets, so that their means over batches are means over
            tokens.
        """
        if self.sampling_probability and chainer.config.train:
            predict = self.predictor(batch)
            inputs = apply_scheduled_sampling(batch, predict, self.sampling_probability)
            batch = batch._replace(inputs=inputs)
        loss, mean_loss, accuracy = self.losses(batch)
        n_targets = len(batch.targets)
        chainer.report(
            {'loss': (mean_loss.array, n_targets), 'accuracy': (accuracy.array, n_targets)}, self
        )
        return loss

    def losses(self, batch):
        """Computes what :meth:`forward` returns, and the ``loss`` and ``accuracy`` it reports.

        Returns:
            tuple of chainer.Variable: Three scalars.
        """
        log_probs = self.log_probs(batch)
        mean_loss = loss = -F.average(F.select_item(log_probs, batch.targets))
        if self.label_smoothing:
            loss = (1 - self.label_smoothing) * loss - self.label_smoothing * F.average(log_probs)
        loss *= len(batch.targets) / batch.divisor
        return loss, mean_loss, F.accuracy(log_probs, batch.targets)

    def weighted_loss(self, batch, weights):
        """Computes a weighted sum of the losses of single tokens.

        Args:
            batch (lib.captions.batch.Batch): The captions.
            weights (array): The weight of each target, (R,), float, of either sign.

        Returns:
            chainer.Variable: The sum, in nats.
        """
        return -F.sum(weights * F.select_item(self.log_probs(batch), batch.targets))

    def predictor(self, batch):
        """Returns a function that predicts tokens from a batch, outside any computational graph.

        Returns:
            callable: Takes some of the R rows of the batch, (n,), integers; returns unnormalized
            log-probabilities of the next token, (n, V), a new array.
        """
        with chainer.no_backprop_mode():
            log_probs = self.log_probs(batch).array
        return lambda rows: log_probs[rows]

    def log_probs(self, batch):
        """Computes the log-probabilities of the tokens after each input of a batch, (R, V)."""
        state = self.start(batch.features)
        log_probs = []
        first_row = 0
        for n_captions in batch.captions_per_step:
            tokens = batch.inputs[first_row : first_row + n_captions]
            # Captions are sorted by length: those that have ended are the last ones.
            state = tuple(values[:n_captions] for values in state)
            step_log_probs, state = self.step(tokens, state)
            log_probs.append(step_log_probs)
            first_row += n_captions
        return F.concat(log_probs, axis=0)

    def standardize(self, features):
        """Returns features with mean 0 and standard deviation 1, if training has set them so."""
        return (features - self.feature_mean) * self.feature_scale
