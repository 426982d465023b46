"""Self-critical training: raising the CIDEr-D of captions that the network samples."""

from itertools import chain

import chainer
import numpy

from lib.captions.batch import Batch, flatten, pack
from lib.captions.vocabulary import EOS
from lib.decoding.minimum_bayes_risk import MAX_N, cider
from lib.decoding.sampling import sample

# Tokens of a sampled caption, at most.
MAX_LENGTH = 40
# CIDEr is printed on a scale from 0 to 10.
CIDER_SCALE = 10


class CiderReward:
    """CIDEr-D of captions of training images (Vedantam et al., *CIDEr*, CVPR 2015).

    Document frequencies are those of the training images. ``</S>`` counts as a token, so that it
    does not pay to break off, and an n-gram with ``<UNK>`` matches no other.

    Args:
        dataset (lib.captions.dataset.CaptionDataset): The data set.
    """

    def __init__(self, dataset):
        self._dataset = dataset
        self._n_tokens = len(dataset.vocabulary)
        self._captions_of = dataset.captions_of_images()
        self._n_images = len(dataset.images_of('train'))
        tokens = numpy.insert(dataset.tokens, dataset.offsets[1:], EOS)
        lengths = dataset.lengths + 1
        images = numpy.repeat(dataset.image, lengths)
        # How many tokens there are from each one to the end of its caption.
        remaining = numpy.repeat(numpy.cumsum(lengths), lengths) - numpy.arange(len(tokens))
        remaining[~numpy.isin(images, dataset.images_of('train'))] = 0
        self._frequencies = [self._count(tokens, images, remaining, n) for n in range(1, MAX_N + 1)]

    def __call__(self, images, captions):
        """Returns the rewards of captions.

        Args:
            images (array): Images, as indices into the data set, (B,), integers.
            captions (list of list of list of int): The tokens of K captions of each image, with
                ``</S>`` if they end.

        Returns:
            array: CIDEr-D, from 0 to 10, (B, K), float64.
        """
        references = [
            [[*self._dataset.tokens_of(caption), EOS] for caption in self._captions_of[image]]
            for image in images
        ]
        # All at once, although most pairs are of two images, since each call has a fixed cost.
        similarities = cider([*chain(*captions)], [*chain(*references)], self._rarity)
        n_references = numpy.array([len(of_image) for of_image in references])
        starts = numpy.cumsum(n_references) - n_references
        own = numpy.arange(len(images))
        sums = numpy.add.reduceat(similarities, starts, axis=1)
        sums = sums.reshape(len(images), -1, len(images))[own, :, own]
        return CIDER_SCALE * sums / n_references[:, None]

    def _count(self, tokens, images, remaining, n):
        """Returns the n-grams of the training set, as sorted keys, and in how many images each is.

        Args:
            tokens (array): Those of all captions, (T,).
            images (array): The image that each describes, (T,).
            remaining (array): How many tokens of the caption there are from each on, (T,); 0 if it
                is not in the training set.
            n (int): Tokens of an n-gram.
        """
        starts = numpy.flatnonzero(remaining >= n)
        keys = self._keys(tokens[starts[:, None] + numpy.arange(n)])
        keys, numbers = numpy.unique(keys, return_inverse=True)
        n_images = len(self._captions_of)
        pairs = numpy.unique(numbers * n_images + images[starts])
        counts = numpy.bincount(pairs // n_images, minlength=len(keys))
        # A last key, so that whatever is searched for has a position.
        return numpy.append(keys, numpy.iinfo('int64').max), numpy.append(counts, 1)

    def _keys(self, ngrams):
        """Returns a number for each n-gram, (m, n); equal ones have the same."""
        # Overflows with more than 65,536 tokens, of which then hardly ever two n-grams share a key.
        return ngrams @ self._n_tokens ** numpy.arange(ngrams.shape[1])

    def _rarity(self, ngrams):
        """Returns the logarithms of the inverse document frequencies of n-grams, (m, n)."""
        known, counts = self._frequencies[ngrams.shape[1] - 1]
        keys = self._keys(ngrams)
        positions = numpy.searchsorted(known, keys)
        is_known = known[positions] == keys
        return numpy.log(self._n_images / numpy.where(is_known, counts[positions], 1))


class RewardLoss:
    """The loss of a batch, mixed with one that raises the reward of captions of its images.

    The latter is that of self-critical sequence training (Rennie et al., arXiv:1612.00563), which
    is REINFORCE with a baseline; here that is the mean reward of the other samples of the image
    (Luo, arXiv:2003.09971). As many captions are drawn as the batch has, rounded up to whole
    images, and without dropout. Dropout acts on their probabilities in the loss, so that its
    gradient is that of the expected reward only where dropout is 0.

    Args:
        network (models.network.Network): The network.
        reward (callable): See :meth:`CiderReward.__call__`.
        weight (float): Weight of the latter, from 0 to 1; the batch's own loss has the rest.
        n_samples (int): Captions to draw of an image, at least 2.
    """

    def __init__(self, network, reward, weight, n_samples):
        self._network = network
        self._reward = reward
        self._weight = weight
        self._n_samples = n_samples

    def __call__(self, batch):
        """Computes the loss of a batch. Reports the mean ``reward``, and what the network does.

        Args:
            batch (lib.captions.batch.Batch): The captions.

        Returns:
            chainer.Variable: The loss.
        """
        network = self._network
        n_samples = self._n_samples
        loss = network(batch)
        # The captions are sorted by length, so these images are spread over all lengths.
        features = batch.features[::n_samples]
        drawn = sample(network, features, n_samples, max_length=MAX_LENGTH)
        rewards = self._reward(
            batch.images[::n_samples],
            [[_with_eos(caption.tokens) for caption in of_image] for of_image in drawn],
        )
        chainer.report({'reward': (rewards.mean(), rewards.size)}, network)
        others = (rewards.sum(axis=1, keepdims=True) - rewards) / (n_samples - 1)
        # On the scale of the batch's loss, which may be a mean of tokens or of captions.
        length = batch.divisor / len(batch.features)
        weights = (rewards - others).ravel() / (rewards.size * length)
        samples = [caption.tokens for of_image in drawn for caption in of_image]
        loss_of_samples = self._loss_of_samples(features, samples, weights)
        return (1 - self._weight) * loss + self._weight * loss_of_samples

    def _loss_of_samples(self, features, samples, weights):
        """Returns the weighted sum of the losses of samples, of which each image has as many."""
        network = self._network
        order, inputs, targets, captions_per_step = pack(
            *flatten(samples), numpy.arange(len(samples))
        )
        weights = numpy.concatenate([weights[order][:size] for size in captions_per_step])
        # Captions that are as long as possible did not choose to end there.
        weights[sum(captions_per_step[:MAX_LENGTH]) :] = 0
        weights = weights.astype(next(network.params()).dtype)
        rows, inputs, targets, weights = network.device.send(
            (order // self._n_samples, inputs, targets, weights)
        )
        return network.weighted_loss(
            Batch(features[rows], inputs, targets, captions_per_step), weights
        )


def _with_eos(tokens):
    return tokens if len(tokens) == MAX_LENGTH else [*tokens, EOS]
