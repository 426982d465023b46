"""``captions.h5``: the captions of a data set, ready for training."""

from dataclasses import dataclass

from lib.errors import InputError
from lib.files import replacing
from lib.karpathy import SPLITS
from lib.vocabulary import UNKNOWN, Vocabulary

import h5py
import numpy
import tqdm

FORMAT = 'show-and-tell captions 1'


@dataclass
class Captions:
    """All captions of a data set as flat arrays.

    Caption ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``, without start and end words, and
    describes image ``image[i]``.

    Attributes:
        vocabulary (Vocabulary): What the tokens stand for.
        tokens (array): Word indices of all captions in a row, int32.
        offsets (array): Where captions begin and end, (captions + 1,), int64.
        image (array): The image each caption belongs to, (captions,), int32.
        imgid (array): The column of each image in the features file, (images,), int32.
        cocoid (array): The id of each image in COCO or -1, (images,), int64.
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
    def from_images(cls, images, min_count, train_splits=('train',), unit='words'):
        """Builds the vocabulary from the training splits and encodes every caption.

        Args:
            images (list of lib.karpathy.CaptionedImage): The data set.
            min_count (int): Words rarer than this in the training splits become ``<UNK>``.
            train_splits (sequence of str): Splits that count, from here on, as ``train``.
            unit (str): What the captions were split into.
        """
        images = [image._replace(split='train') if image.split in train_splits else image
                  for image in images]
        vocabulary = Vocabulary.from_captions(
            (tokens for image in images if image.split == 'train' for tokens in image.captions),
            min_count, unit)
        captions = [tokens for image in images for tokens in image.captions]
        return cls(
            vocabulary=vocabulary,
            tokens=numpy.fromiter(
                (index for tokens in tqdm.tqdm(captions, desc='encoding', unit='caption',
                                               disable=None, leave=False)
                 for index in vocabulary.encode(tokens)), 'int32'),
            offsets=numpy.cumsum([0, *map(len, captions)], dtype='int64'),
            image=numpy.repeat(numpy.arange(len(images), dtype='int32'),
                               [len(image.captions) for image in images]),
            imgid=numpy.array([image.imgid for image in images], 'int32'),
            cocoid=numpy.array([image.cocoid for image in images], 'int64'),
            split=numpy.array([SPLITS.index(image.split) for image in images], 'uint8'),
            filename=numpy.array([image.filename for image in images], object),
            raw=numpy.array([raw for image in images for raw in image.raw], object))

    @property
    def lengths(self):
        """Number of words of each caption, (captions,), int64."""
        return numpy.diff(self.offsets)

    def images_of(self, split):
        """Returns the indices of the images of a split."""
        return numpy.flatnonzero(self.split == SPLITS.index(split))

    def captions_of(self, split):
        """Returns the indices of the captions of a split."""
        return numpy.flatnonzero(self.split[self.image] == SPLITS.index(split))

    def references_of(self, images):
        """Returns, for each of some images, its captions as they were written."""
        order = numpy.argsort(self.image, kind='stable')
        bounds = numpy.searchsorted(self.image[order], numpy.stack((images, images + 1)))
        return [self.raw[order[start:stop]].tolist() for start, stop in bounds.T]

    def training_texts(self):
        """Returns the captions of the training split as a model would print them, as a set."""
        return {self.vocabulary.decode(self.tokens[self.offsets[caption]:self.offsets[caption + 1]])
                for caption in self.captions_of('train')}

    def statistics(self):
        """Counts images, captions, tokens and unknown tokens of each split that has any.

        Returns:
            dict: From the split's name to a dictionary of these counts and the longest
            caption's length.
        """
        unknown_before = numpy.concatenate(([0], numpy.cumsum(self.tokens == UNKNOWN)))
        result = {}
        for split in SPLITS:
            captions = self.captions_of(split)
            if captions.size:
                lengths = self.lengths[captions]
                unknown = (unknown_before[self.offsets[captions + 1]]
                           - unknown_before[self.offsets[captions]])
                result[split] = {
                    'images': len(self.images_of(split)), 'captions': len(captions),
                    'tokens': int(lengths.sum()), 'unknown': int(unknown.sum()),
                    'longest': int(lengths.max())}
        return result

    def save(self, path):
        """Writes ``captions.h5``."""
        with replacing(path) as temporary, h5py.File(temporary, 'w') as file:
            file.attrs['format'] = FORMAT
            file.attrs['splits'] = SPLITS
            file.attrs['tokens'] = self.vocabulary.unit
            for name in 'tokens', 'offsets', 'image', 'imgid', 'cocoid', 'split':
                file[name] = getattr(self, name)
            for name in 'filename', 'raw':
                file.create_dataset(name, data=getattr(self, name), dtype=h5py.string_dtype())
            file.create_dataset('vocabulary', data=self.vocabulary.words,
                                dtype=h5py.string_dtype())

    @classmethod
    def load(cls, path):
        """Reads ``captions.h5``.

        Raises:
            InputError: If the file was not written by ``preprocess_vocab.py``.
        """
        try:
            with h5py.File(path) as file:
                if file.attrs.get('format') != FORMAT:
                    raise InputError(f'{path}: not a captions file; preprocess_vocab.py makes one')
                arrays = {name: file[name][()]
                          for name in ('tokens', 'offsets', 'image', 'imgid', 'cocoid', 'split')}
                texts = {name: file[name].asstr()[()] for name in ('filename', 'raw')}
                vocabulary = Vocabulary(file['vocabulary'].asstr()[()],
                                        file.attrs.get('tokens', 'words'))
                return cls(vocabulary, **arrays, **texts)
        except FileNotFoundError:
            raise InputError(f'{path}: no such file; preprocess_vocab.py makes it') from None
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f'{path}: not a captions file, or damaged; '
                             'preprocess_vocab.py makes one') from error
