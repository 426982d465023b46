"""``captions.h5``: the captions of a data set, ready for training."""

import dataclasses
from dataclasses import dataclass

import numpy
import tqdm

from lib.captions.readers import SPLITS
from lib.captions.vocabulary import UNK, Vocabulary
from lib.files.fingerprint import fingerprint
from lib.files.hdf5 import read_hdf5, read_texts, write_hdf5, write_texts

ARRAYS = 'tokens', 'offsets', 'image', 'imgid', 'cocoid', 'split'
TEXTS = 'filename', 'raw'


@dataclass
class CaptionDataset:
    """All captions of a data set as flat arrays.

    Attributes:
        vocabulary (Vocabulary): The tokens that the indices stand for.
        tokens (array): Token indices of all captions, one after the other, int32.
        offsets (array): Caption ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``, without
            ``<S>`` and ``</S>``; (captions + 1,), int64.
        image (array): The image that each caption describes, (captions,), int32.
        imgid (array): The row of each image's features, (images,), int32.
        cocoid (array): COCO's id of each image, or -1, (images,), int64.
        split (array): The split of each image, an index into ``SPLITS``, (images,), uint8.
        filename (array): The path of each image, (images,), str objects.
        raw (array): The captions as they were written, (captions,), str objects.
    """

    vocabulary: Vocabulary
    tokens: numpy.ndarray
    offsets: numpy.ndarray
    image: numpy.ndarray
    imgid: numpy.ndarray
    cocoid: numpy.ndarray
    split: numpy.ndarray
    filename: numpy.ndarray
    raw: numpy.ndarray

    @classmethod
    def from_images(cls, images, min_count, train_splits=('train',), tokenizer='words'):
        """Builds the vocabulary from the training splits and encodes every caption.

        Args:
            images (list of lib.captions.readers.CaptionedImage): The data set.
            min_count (int): Tokens seen less often in the training splits become ``<UNK>``.
            train_splits (sequence of str): Splits that are merged into ``train``.
            tokenizer (str): How the captions were split into tokens.
        """
        images = [
            image._replace(split='train') if image.split in train_splits else image
            for image in images
        ]
        vocabulary = Vocabulary.from_captions(
            (tokens for image in images if image.split == 'train' for tokens in image.tokens),
            min_count,
            tokenizer,
        )
        captions = [tokens for image in images for tokens in image.tokens]
        progress = tqdm.tqdm(captions, desc='encoding', unit='caption', disable=None, leave=False)
        return cls(
            vocabulary=vocabulary,
            tokens=numpy.fromiter(
                (index for tokens in progress for index in vocabulary.encode(tokens)), 'int32'
            ),
            offsets=numpy.cumsum([0, *map(len, captions)], dtype='int64'),
            image=numpy.repeat(
                numpy.arange(len(images), dtype='int32'), [len(image.tokens) for image in images]
            ),
            imgid=numpy.array([image.imgid for image in images], 'int32'),
            cocoid=numpy.array([image.cocoid for image in images], 'int64'),
            split=numpy.array([SPLITS.index(image.split) for image in images], 'uint8'),
            filename=numpy.array([image.filename for image in images], object),
            raw=numpy.array([text for image in images for text in image.raw], object),
        )

    def fingerprint(self) -> str:
        """Returns a fingerprint of the content."""
        vocabulary = self.vocabulary
        arrays = [getattr(self, name) for name in ARRAYS]
        texts = [*vocabulary.tokens, vocabulary.tokenizer, *self.filename, *self.raw]
        return fingerprint(*arrays, *texts)

    def fingerprints_of(self, images) -> numpy.ndarray:
        """Returns fingerprints of images, by which they are known in other data sets.

        Args:
            images (array): Indices of the images, (n,).

        Returns:
            array: Of each image's file name and its captions as they were written, (n,), uint64.
        """
        contents = zip(self.filename[images], self.references_of(images))
        digests = (fingerprint(filename, *captions) for filename, captions in contents)
        return numpy.array([int(digest[:16], 16) for digest in digests], 'uint64')

    def without(self, images) -> 'CaptionDataset':
        """Returns the data set without some images and their captions.

        Args:
            images (array): Indices of the images, (n,), integers.
        """
        if not len(images):
            return self
        is_kept = numpy.ones(len(self.imgid), bool)
        is_kept[images] = False
        is_kept_caption = is_kept[self.image]
        return dataclasses.replace(
            self,
            tokens=self.tokens[numpy.repeat(is_kept_caption, self.lengths)],
            offsets=numpy.cumsum([0, *self.lengths[is_kept_caption]]),
            image=(numpy.cumsum(is_kept) - 1).astype('int32')[self.image[is_kept_caption]],
            raw=self.raw[is_kept_caption],
            **{
                name: getattr(self, name)[is_kept]
                for name in ('imgid', 'cocoid', 'split', 'filename')
            },
        )

    @property
    def lengths(self):
        """Number of tokens of each caption, (captions,), int64."""
        return numpy.diff(self.offsets)

    def images_of(self, split: str) -> numpy.ndarray:
        """Returns the indices of the images of a split."""
        return numpy.flatnonzero(self.split == SPLITS.index(split))

    def captions_of(self, split: str) -> numpy.ndarray:
        """Returns the indices of the captions of a split."""
        return numpy.flatnonzero(self.split[self.image] == SPLITS.index(split))

    def captions_of_images(self) -> list[numpy.ndarray]:
        """Returns the indices of the captions of each image."""
        ends = numpy.cumsum(numpy.bincount(self.image, minlength=len(self.imgid)))
        return numpy.split(numpy.argsort(self.image, kind='stable'), ends[:-1])

    def tokens_of(self, caption: int) -> numpy.ndarray:
        """Returns the token indices of a caption."""
        return self.tokens[self.offsets[caption] : self.offsets[caption + 1]]

    def ids_of(self, images) -> list[int]:
        """Returns COCO's id of each of some images if each has its own, otherwise ``imgid``."""
        ids = self.cocoid[images]
        if ids.min() < 0 or len(numpy.unique(ids)) < len(ids):
            ids = self.imgid[images]
        return ids.tolist()

    def references_of(self, images) -> list[list[str]]:
        """Returns the captions of each of some images, as they were written."""
        captions_of = self.captions_of_images()
        return [self.raw[captions_of[image]].tolist() for image in images]

    def training_texts(self) -> set[str]:
        """Returns the set of training captions as a model would print them."""
        return {
            self.vocabulary.decode(self.tokens_of(caption)) for caption in self.captions_of('train')
        }

    def statistics(self) -> dict[str, dict[str, int]]:
        """Counts images, captions, tokens and unknown tokens of each split that has images.

        Returns:
            dict: From the split's name to a dictionary of these counts and of the length of
            the longest caption.
        """
        n_unknown_before = numpy.concatenate(([0], numpy.cumsum(self.tokens == UNK)))
        statistics = {}
        for split in SPLITS:
            captions = self.captions_of(split)
            if self.images_of(split).size:
                lengths = self.lengths[captions]
                n_unknown = numpy.diff(n_unknown_before[self.offsets])[captions]
                statistics[split] = {
                    'images': len(self.images_of(split)),
                    'captions': len(captions),
                    'tokens': int(lengths.sum()),
                    'unknown': int(n_unknown.sum()),
                    'longest': int(lengths.max(initial=0)),
                }
        return statistics

    def save(self, path: str):
        """Writes ``captions.h5``."""
        with write_hdf5(path, 'captions') as file:
            # Not read: it says what the numbers in "split" mean.
            file.attrs['splits'] = numpy.array(SPLITS, 'S')
            for name in ARRAYS:
                file[name] = getattr(self, name)
            for name in TEXTS:
                write_texts(file, name, getattr(self, name))
            self.vocabulary.write_to(file)

    @classmethod
    def load(cls, path: str) -> 'CaptionDataset':
        """Reads ``captions.h5``.

        Raises:
            InputError: If the file was not written by :meth:`save`, or is damaged.
        """
        with read_hdf5(path, 'captions', advice='preprocess_vocab.py writes one') as file:
            arrays = {name: file[name][()] for name in ARRAYS}
            texts = {name: numpy.array(read_texts(file, name), object) for name in TEXTS}
            return cls(Vocabulary.read_from(file), **arrays, **texts)
