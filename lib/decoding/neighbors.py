"""An index of training images, whose captions stand for what people would write of an image."""

from dataclasses import dataclass
from typing import NamedTuple

import chainer
import numpy
import tqdm

from lib.captions.vocabulary import Vocabulary
from lib.decoding.neighbor_space import NeighborSpace, embed_captions, in_blocks
from lib.errors import InputError
from lib.features.feature_source import FeatureSource, check_same_source
from lib.files.hdf5 import read_hdf5, read_text, write_hdf5, write_text

SPACE_ARRAYS = 'mean', 'inverse_std', 'topics'
CAPTION_ARRAYS = 'tokens', 'offsets', 'first_caption', 'fingerprints'
# Of the regression that weighs the neighbors: its kernel is this power of their similarities, and
# its regularization this constant.
KERNEL_POWER = 3
KERNEL_RIDGE = 1
# Similarities computed at once, which bounds the memory of a search.
SIMILARITIES_AT_ONCE = 1 << 24
# Images by which features are compared with those that an index was made of, and how far apart
# their vectors may be; unrelated ones are 1.4 apart.
IMAGES_TO_COMPARE = 100
MAX_DISTANCE = 0.3


class References(NamedTuple):
    """Captions that an image's captions are compared with.

    Attributes:
        captions (list of list of int): Their tokens.
        weights (array): Their weights, (n,), float64; some may be negative.
    """

    captions: list[list[int]]
    weights: numpy.ndarray


@dataclass
class NeighborIndex:
    """Images of a training set, which can be searched by features, and their captions.

    Attributes:
        vocabulary (Vocabulary): The vocabulary of the captions.
        feature_source (FeatureSource): How the features were extracted, None if unknown.
        space (NeighborSpace): Maps features to vectors.
        vectors (array): Of each image, (n, d), float32, NumPy or CuPy; float16 in the file.
        tokens, offsets (array): Caption ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``, as in
            :class:`lib.captions.dataset.CaptionDataset`.
        first_caption (array): Image ``k`` has the captions from ``first_caption[k]`` to
            ``first_caption[k + 1]``, (n + 1,).
        fingerprints (array): Of each image, (n,), uint64, see
            :meth:`lib.captions.dataset.CaptionDataset.fingerprints_of`.
        path (str): The file it was read from, for error messages.
    """

    vocabulary: Vocabulary
    feature_source: FeatureSource | None
    space: NeighborSpace
    vectors: numpy.ndarray
    tokens: numpy.ndarray
    offsets: numpy.ndarray
    first_caption: numpy.ndarray
    fingerprints: numpy.ndarray
    path: str = 'the index'

    @classmethod
    def from_dataset(cls, dataset, features) -> 'NeighborIndex':
        """Makes an index of the training images of a data set.

        Args:
            dataset (lib.captions.dataset.CaptionDataset): The data set.
            features (lib.features.table.FeatureTable): Its features.
        """
        images = dataset.images_of('train')
        captions = dataset.captions_of('train')
        captions = captions[numpy.argsort(dataset.image[captions], kind='stable')]
        tokens = numpy.concatenate([dataset.tokens_of(caption) for caption in captions])
        offsets = numpy.cumsum([0, *dataset.lengths[captions]])
        n_captions = numpy.bincount(dataset.image[captions], minlength=len(dataset.imgid))
        first_caption = numpy.cumsum([0, *n_captions[images]])
        imgids = dataset.imgid[images]
        topics = embed_captions(tokens, offsets, first_caption)
        space = NeighborSpace.fit(features, imgids, topics)
        progress = tqdm.tqdm(in_blocks(imgids), 'mapping features', disable=None, leave=False)
        return cls(
            vocabulary=dataset.vocabulary,
            feature_source=features.source,
            space=space,
            vectors=numpy.concatenate([space(features[rows]) for rows in progress]),
            tokens=tokens,
            offsets=offsets,
            first_caption=first_caption,
            fingerprints=dataset.fingerprints_of(images),
        )

    def check_vocabulary(self, ensemble):
        """Checks that the index has the vocabulary of models.

        Args:
            ensemble (lib.decoding.ensemble.Ensemble): The models.

        Raises:
            InputError: If it does not.
        """
        if self.vocabulary != ensemble.vocabulary:
            raise InputError(
                f'{self.path}: has another vocabulary than {ensemble.models[0].path}; make an '
                'index of the captions that it was trained on'
            )

    def check_features(self, features, dataset):
        """Checks that the index was made of features like some others.

        Args:
            features (lib.features.table.FeatureTable): The others.
            dataset (lib.captions.dataset.CaptionDataset): The data set whose ``imgid`` are their
                rows.

        Raises:
            InputError: If they have another size, are known to come from another network or layer,
                or are others for training images that the index contains.
        """
        self._check_size(features)
        check_same_source(
            features.path, features.source, self.feature_source, f'{self.path} was made with'
        )
        images = dataset.images_of('train')[:IMAGES_TO_COMPARE]
        _, ours, theirs = numpy.intersect1d(
            self.fingerprints, dataset.fingerprints_of(images), return_indices=True
        )
        rows = dataset.imgid[images[theirs]]
        is_there = rows < len(features)
        device = chainer.backend.get_device_from_array(self.vectors)
        vectors = self.space(device.send(features[rows[is_there]]))
        xp = device.xp
        distances = xp.linalg.norm(vectors - self.vectors[ours[is_there]], axis=1)
        distances = distances[xp.isfinite(distances)]  # no features were extracted of the others
        if len(distances) and xp.median(distances) > MAX_DISTANCE:
            raise InputError(
                f'{self.path}: was made of other features than those of {features.path}',
                option='index',
            )

    def check_no_overlap(self, dataset, images):
        """Checks that images to evaluate are not in the index with their own captions.

        Args:
            dataset (lib.captions.dataset.CaptionDataset): The data set.
            images (array): Indices of its images.

        Raises:
            InputError: If they are.
        """
        overlap = numpy.intersect1d(self.fingerprints, dataset.fingerprints_of(images))
        if len(overlap):
            raise InputError(
                f'{self.path}: contains the captions of {len(overlap)} of the images to evaluate'
            )

    def references(self, features, n_neighbors: int) -> list[References]:
        """Finds images that are described like some others, and returns their captions.

        Args:
            features (array): Features of images, (B, D), on the device of the index.
            n_neighbors (int): Images to find for each; all if the index has fewer.

        Returns:
            list of References: One for each image. The weighted sum of a quantity of the neighbors
            is what kernel ridge regression predicts for the image from theirs.

        Raises:
            InputError: If the features have another size than those of the index, or are NaN.
        """
        self._check_size(features)
        n_rows = max(1, SIMILARITIES_AT_ONCE // len(self.vectors))
        references = []
        for start in range(0, len(features), n_rows):
            images, similarities = self.search(features[start : start + n_rows], n_neighbors)
            references += map(self._references, images, similarities)
        return references

    def search(self, features, n_neighbors):
        """Returns the nearest images, (B, n), in no order, and their similarities; NumPy."""
        similarities = self.space(features) @ self.vectors.T
        xp = chainer.backend.get_array_module(similarities)
        if xp.isnan(similarities).any():
            raise InputError(f'{self.path}: was searched by features that are NaN or too large')
        n_neighbors = min(n_neighbors, len(self.vectors))
        nearest = xp.argpartition(similarities, -n_neighbors, axis=1)[:, -n_neighbors:]
        to_cpu = chainer.get_device('@numpy').send
        return to_cpu(nearest), to_cpu(xp.take_along_axis(similarities, nearest, axis=1))

    def _check_size(self, features):
        if features.shape[1] != len(self.space.mean):
            raise InputError(
                f'{self.path}: was made of features of size {len(self.space.mean)}, not '
                f'{features.shape[1]}',
                option='index',
            )

    def _references(self, images, similarities):
        device = chainer.backend.get_device_from_array(self.vectors)
        vectors = chainer.get_device('@numpy').send(self.vectors[device.send(images)])
        captions = []
        weights = []
        for image, weight in zip(images, regression_weights(vectors, similarities)):
            numbers = range(self.first_caption[image], self.first_caption[image + 1])
            for number in numbers:
                start, stop = self.offsets[number : number + 2]
                captions.append(self.tokens[start:stop].tolist())
                weights.append(weight / len(numbers))
        return References(captions, numpy.array(weights))

    def save(self, path: str):
        """Writes the index."""
        with write_hdf5(path, 'index') as file:
            self.vocabulary.write_to(file)
            write_text(file, 'feature_source', FeatureSource.to_json(self.feature_source))
            for name in SPACE_ARRAYS:
                file[name] = getattr(self.space, name)
            file['vectors'] = self.vectors.astype('float16')
            for name in CAPTION_ARRAYS:
                file[name] = getattr(self, name)

    @classmethod
    def load(cls, path: str, device) -> 'NeighborIndex':
        """Reads an index.

        Args:
            path (str): A file written by :meth:`save`.
            device (chainer.backend.Device): Where to search.

        Raises:
            InputError: If the file was not written by :meth:`save`, or damaged.
        """
        with read_hdf5(path, 'index', advice='index_captions.py writes one') as file:
            space = NeighborSpace(*(file[name][()] for name in SPACE_ARRAYS))
            index = cls(
                vocabulary=Vocabulary.read_from(file),
                feature_source=FeatureSource.from_json(read_text(file, 'feature_source')),
                space=space,
                vectors=file['vectors'][()].astype('float32'),
                **{name: file[name][()] for name in CAPTION_ARRAYS},
                path=str(path),
            )
        index.vectors = device.send(index.vectors)
        index.space.to_device(device)
        return index


def regression_weights(vectors, similarities):
    """Returns the weights by which kernel ridge regression predicts a quantity of an image.

    Args:
        vectors (array): Of the images where it is known, (n, d), of length 1.
        similarities (array): Of these to the image, (n,).

    Returns:
        array: The weight of the quantity of each, (n,), float64.
    """
    vectors = vectors.astype('float64')
    kernel = (vectors @ vectors.T) ** KERNEL_POWER
    to_image = similarities.astype('float64') ** KERNEL_POWER
    return numpy.linalg.solve(kernel + KERNEL_RIDGE * numpy.eye(len(kernel)), to_image)
