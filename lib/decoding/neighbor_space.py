"""The space in which images that are described alike are near each other."""

import itertools
from collections import Counter
from dataclasses import dataclass

import chainer
import numpy
from scipy import sparse
from scipy.sparse.linalg import svds

# Principal components of the features, and how many of them are part of the space themselves.
N_COMPONENTS, N_OWN_COMPONENTS = 768, 128
# Dimensions of the embedding of captions that is predicted from the components.
N_TOPICS = 300
# Images whose captions have an n-gram, at least, for it to count.
MIN_IMAGES = 5
# Components that vary less than this share of the first one are noise.
MIN_VARIANCE = 1e-6
# Images at a time.
BLOCK = 1024


@dataclass
class NeighborSpace:
    """Maps features to unit vectors whose products say how similarly images are described.

    A vector has two parts of equal weight. One is the first whitened principal components of the
    standardized features. The other is a linear prediction, from more components, of the image's
    captions in a space of latent semantic analysis (Deerwester et al., 1990): a metric that is
    learnt from captions.

    Attributes:
        mean, inverse_std (array): What standardizes features, (D,), float32.
        components (array): Principal components divided by their standard deviations, (D, K).
        topics (array): Prediction from the components, (K, T).
    """

    mean: numpy.ndarray
    inverse_std: numpy.ndarray
    components: numpy.ndarray
    topics: numpy.ndarray

    @property
    def size(self):
        """Size of the vectors."""
        return min(N_OWN_COMPONENTS, self.topics.shape[0]) + self.topics.shape[1]

    @classmethod
    def fit(cls, features, imgids, token_lists) -> 'NeighborSpace':
        """Learns the space from images and their captions.

        Args:
            features (lib.features.feature_file.Features): Features of the images.
            imgids (array): The images, (n,), integers.
            token_lists (list of list of list): The captions of each of the images, as tokens.
        """
        mean, inverse_std = features.mean_and_inverse_std(imgids)
        blocks = in_blocks(imgids)
        space = cls(mean, inverse_std, None, None)
        covariance = numpy.zeros((len(mean), len(mean)))
        for rows in blocks:
            standardized = space._standardize(features.array[rows])
            covariance += standardized.T @ standardized
        variances, components = numpy.linalg.eigh(covariance / len(imgids))
        variances, components = variances[::-1], components[:, ::-1]
        n_kept = min(N_COMPONENTS, int((variances > MIN_VARIANCE * variances[0]).sum()))
        components = components[:, :n_kept] / numpy.sqrt(variances[:n_kept])
        space.components = components.astype('float32')
        whitened = numpy.concatenate([space._whiten(features.array[rows]) for rows in blocks])
        topics = _embed_captions(token_lists)
        # The least squares, since whitened components are uncorrelated.
        space.topics = (whitened.T @ (topics - topics.mean(axis=0)) / len(imgids)).astype('float32')
        return space

    def __call__(self, features):
        """Maps features.

        Args:
            features (array): (B, D), real numbers, NumPy or CuPy.

        Returns:
            array: (B, :attr:`size`), float32, of length 1, on the same device.
        """
        whitened = self._whiten(features)
        xp = chainer.backend.get_array_module(whitened)
        parts = whitened[:, :N_OWN_COMPONENTS], whitened @ self.topics
        vectors = xp.concatenate([part / _norm(part) for part in parts], axis=1)
        return vectors / _norm(vectors)

    def to_device(self, device):
        """Sends the arrays to a device."""
        for name, array in vars(self).items():
            setattr(self, name, device.send(array))

    def _standardize(self, features):
        return ((features - self.mean) * self.inverse_std).astype('float32')

    def _whiten(self, features):
        return self._standardize(features) @ self.components


def in_blocks(imgids):
    """Divides numbers of images, so that the features of each part need little memory."""
    return numpy.array_split(imgids, -(-len(imgids) // BLOCK))


def _norm(vectors):
    xp = chainer.backend.get_array_module(vectors)
    return xp.maximum(xp.linalg.norm(vectors, axis=1, keepdims=True), 1e-20)


def _embed_captions(token_lists):
    """Returns latent semantic vectors of the captions of images, (n, T), float64.

    They are the strongest singular vectors of the tf-idf weights of words and pairs of words.
    """
    column_of, rows, columns, counts = {}, [], [], []
    for row, captions in enumerate(token_lists):
        ngrams = Counter()
        for tokens in captions:
            ngrams.update({*tokens, *itertools.pairwise(tokens)})
        rows += [row] * len(ngrams)
        columns += [column_of.setdefault(ngram, len(column_of)) for ngram in ngrams]
        counts += ngrams.values()
    shape = len(token_lists), len(column_of)
    weights = sparse.csr_matrix((numpy.log1p(counts), (rows, columns)), shape)
    n_images = numpy.bincount(columns)
    weights = weights @ sparse.diags(numpy.log(len(token_lists) / n_images))
    weights = weights[:, n_images >= min(MIN_IMAGES, n_images.max())]
    norms = numpy.sqrt(weights.multiply(weights).sum(axis=1)).A1
    weights = sparse.diags(1 / numpy.maximum(norms, 1e-20)) @ weights
    if min(weights.shape) <= N_TOPICS:
        left, values, _ = numpy.linalg.svd(weights.toarray(), full_matrices=False)
    else:
        # Arpack begins at a random vector, unless it is given one.
        left, values, _ = svds(weights, N_TOPICS, v0=numpy.ones(min(weights.shape)))
    return left * values
