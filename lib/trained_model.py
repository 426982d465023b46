"""A trained model as one HDF5 file that is enough by itself."""

import json
from dataclasses import dataclass

from lib.errors import InputError
from lib.features import FeatureSource
from lib.files import replacing
from lib.vocabulary import Vocabulary
from models.show_and_tell import ShowAndTell

import h5py
from chainer.serializers import HDF5Deserializer, HDF5Serializer

FORMAT = 'show-and-tell model 1'


@dataclass
class TrainedModel:
    """A network and what is needed to use it.

    Attributes:
        network (ShowAndTell): The network.
        vocabulary (Vocabulary): The words it speaks.
        feature_source (FeatureSource): How the features it was trained on were made, or
            None if nobody knows.
    """

    network: ShowAndTell
    vocabulary: Vocabulary
    feature_source: FeatureSource = None

    def save(self, path):
        """Writes the model; arrays on a GPU are copied from there."""
        with replacing(path) as temporary, h5py.File(temporary, 'w') as file:
            file.attrs['format'] = FORMAT
            file.attrs['hyperparameters'] = json.dumps(self.network.hyperparameters)
            file.attrs['feature_source'] = json.dumps(
                self.feature_source and vars(self.feature_source))
            file.attrs['tokens'] = self.vocabulary.unit
            file.create_dataset('vocabulary', data=self.vocabulary.words,
                                dtype=h5py.string_dtype())
            HDF5Serializer(file.create_group('network'), compression=None).save(self.network)

    @classmethod
    def load(cls, path):
        """Reads a model to the CPU, wherever it was trained.

        Raises:
            InputError: If the file is no model written by :meth:`save`.
        """
        try:
            with h5py.File(path) as file:
                if file.attrs.get('format') != FORMAT:
                    raise InputError(f'{path}: not a trained model; train.py writes best.h5')
                network = ShowAndTell(**json.loads(file.attrs['hyperparameters']))
                HDF5Deserializer(file['network']).load(network)
                source = json.loads(file.attrs['feature_source'])
                vocabulary = Vocabulary(file['vocabulary'].asstr()[()],
                                        file.attrs.get('tokens', 'words'))
                return cls(network, vocabulary, source and FeatureSource(**source))
        except FileNotFoundError:
            raise InputError(f'{path}: no such file; train.py writes best.h5') from None
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(f'{path}: not a trained model, or damaged') from error
