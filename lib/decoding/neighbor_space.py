"""The space in which images that are described alike are near each other."""

from dataclasses import dataclass

import chainer
import numpy
import scipy
import tqdm

from lib.device import check_memory
from lib.errors import InputError

# Dimensions of the embedding of captions that is predicted from the features.
N_TOPICS = 300
# Regularization of this prediction, for standardized features.
RIDGE = 1000
# Images whose captions have an n-gram, at least, for it to count; fewer if none has as many.
MIN_IMAGES = 5
# Images at a time.
BLOCK = 1024


@dataclass
class NeighborSpace:
    """Maps features to unit vectors whose products say how similarly images are described.

    A vector is what ridge regression predicts of the image's captions in a space of latent semantic
    analysis (Deerwester et al., 1990), from the standardized features.

    Attributes:
        mean, inverse_std (array): What standardizes features, (D,), float32.
        topics (array): The coefficients of the regression, (D, T), float32.
    """

    mean: numpy.ndarray
    inverse_std: numpy.ndarray
    topics: numpy.ndarray

    @classmethod
    @numpy.errstate(over='ignore', invalid='ignore')  # found out below
    def fit(cls, features, imgids, topics) -> 'NeighborSpace':
        """Learns the space from images and their captions.

        Args:
            features (lib.features.table.FeatureTable): Features of the images.
            imgids (array): The images, (n,), integers.
            topics (array): What :func:`embed_captions` returns of their captions, (n, T).

        Raises:
            lib.errors.InputError: If there is too little memory for features of this size, or
                their values are too large.
        """
        size = features.shape[1]
        # The covariance, what is added to it, and its factor.
        check_memory(3 * 8 * size**2, f'{features.path}: an index of features of size {size:,}')
        mean, inverse_std = features.mean_and_inverse_std(imgids)
        topics = topics - topics.mean(axis=0)
        covariance = RIDGE * numpy.eye(size)
        topic_covariance = numpy.zeros((size, topics.shape[1]))
        blocks = in_blocks(imgids)
        progress = tqdm.tqdm(blocks, 'reading features', disable=None, leave=False)
        for rows, block_topics in zip(progress, numpy.array_split(topics, len(blocks))):
            standardized = _standardize(features[rows], mean, inverse_std)
            covariance += standardized.T @ standardized
            topic_covariance += standardized.T @ block_topics.astype('float32')
        if not numpy.isfinite(covariance).all():
            raise InputError(f'{features.path}: the features are too large for an index')
        coefficients = scipy.linalg.solve(covariance, topic_covariance, assume_a='pos')
        return cls(mean, inverse_std, coefficients.astype('float32'))

    @numpy.errstate(over='ignore', invalid='ignore')
    def __call__(self, features):
        """Maps features.

        Args:
            features (array): (B, D), real numbers, NumPy or CuPy.

        Returns:
            array: (B, T), float32, of length 1, on the same device. Vectors are 0 where all
            features are means, and NaN where numbers are too large.
        """
        vectors = _standardize(features, self.mean, self.inverse_std) @ self.topics
        xp = chainer.backend.get_array_module(vectors)
        return vectors / xp.maximum(xp.linalg.norm(vectors, axis=1, keepdims=True), 1e-20)

    def to_device(self, device):
        """Sends the arrays to a device."""
        for name, array in vars(self).items():
            setattr(self, name, device.send(array))


def in_blocks(imgids):
    """Divides numbers of images, so that the features of each part need little memory."""
    return numpy.array_split(imgids, -(-len(imgids) // BLOCK))


def _standardize(features, mean, inverse_std):
    return ((features - mean) * inverse_std).astype('float32')


def embed_captions(tokens, offsets, first_caption):
    """Embeds the captions of images by latent semantic analysis.

    Args:
        tokens, offsets, first_caption (array): As of
            :class:`lib.decoding.neighbors.NeighborIndex`.

    Returns:
        array: The strongest left singular vectors of the tf-idf weights of words and pairs of
        words, times the singular values, (n, T), float64. T is :data:`N_TOPICS`, or less if there
        are not as many images or n-grams.
    """
    counts = _count_ngrams(tokens, offsets, first_caption)
    n_images = counts.getnnz(axis=0)
    # The weight of what all images have is 0, and Arpack fails if all weights are.
    n_images[n_images == len(first_caption) - 1] = 0
    is_kept = n_images >= max(1, min(MIN_IMAGES, n_images.max()))
    weights = counts[:, is_kept].log1p()
    weights = weights @ scipy.sparse.diags(numpy.log(weights.shape[0] / n_images[is_kept]))
    norms = scipy.sparse.linalg.norm(weights, axis=1)
    weights = scipy.sparse.diags(1 / numpy.maximum(norms, 1e-20)) @ weights
    if min(weights.shape) <= N_TOPICS:
        left, values, _ = numpy.linalg.svd(weights.toarray(), full_matrices=False)
    else:
        # Arpack begins at a random vector, unless it is given one.
        left, values, _ = scipy.sparse.linalg.svds(
            weights, N_TOPICS, v0=numpy.ones(min(weights.shape))
        )
    return left * values


def _count_ngrams(tokens, offsets, first_caption):
    """Counts the captions of each image that have a word or a pair of words.

    Arguments are as for :func:`embed_captions`; returns a sparse matrix, (n, n-grams), float64.
    """
    caption = numpy.repeat(numpy.arange(len(offsets) - 1), numpy.diff(offsets))
    first = numpy.flatnonzero(caption[1:] == caption[:-1])
    tokens = tokens.astype('int64')
    pairs = (tokens[first] + 1) * (tokens.max() + 1) + tokens[first + 1]
    _, ngrams = numpy.unique(numpy.concatenate([tokens, pairs]), return_inverse=True)
    rows = numpy.concatenate([caption, caption[first]])
    # SciPy adds up what is in the same place, which stays True.
    is_in_caption = scipy.sparse.csr_matrix((numpy.ones(len(rows), bool), (rows, ngrams)))
    n_captions = is_in_caption.shape[0]
    is_of_image = scipy.sparse.csr_matrix(
        (numpy.ones(n_captions), numpy.arange(n_captions), first_caption)
    )
    return is_of_image @ is_in_caption
