"""A trained model as one HDF5 file that contains all that is needed to use it."""

import json
from dataclasses import dataclass

from chainer.serializers import HDF5Deserializer, HDF5Serializer

from lib.captions.vocabulary import Vocabulary
from lib.errors import InputError
from lib.features.feature_file import FeatureSource
from lib.files import read_hdf5, write_hdf5
from models.show_and_tell import ShowAndTell


@dataclass
class TrainedModel:
    """A network, the tokens it predicts and the features it takes.

    Attributes:
        network (ShowAndTell): The network.
        vocabulary (Vocabulary): Its tokens.
        feature_source (FeatureSource): How the features it was trained on were extracted,
            None if unknown.
        path (str): The file it was read from, for error messages.
    """

    network: ShowAndTell
    vocabulary: Vocabulary
    feature_source: FeatureSource | None = None
    path: str = 'the model'

    @property
    def feature_size(self) -> int:
        """Size of the features that the network takes."""
        return self.network.hyperparameters['feature_size']

    def check_feature_size(self, size: int, origin: str, option: str | None = None):
        """Checks that features have the size that the network takes.

        Args:
            size (int): Their size.
            origin (str): Where they come from, for the error message.
            option (str): See :class:`lib.errors.InputError`.

        Raises:
            InputError: If they do not.
        """
        if size != self.feature_size:
            raise InputError(
                f'{origin}: features have size {size}, but {self.path} was trained on features '
                f'of size {self.feature_size}',
                option,
            )

    def save(self, path: str):
        """Writes the model; arrays on a GPU are copied from there."""
        with write_hdf5(path, 'model') as file:
            file.attrs['hyperparameters'] = json.dumps(self.network.hyperparameters)
            file.attrs['feature_source'] = FeatureSource.to_json(self.feature_source)
            self.vocabulary.write_to(file)
            HDF5Serializer(file.create_group('network'), compression=None).save(self.network)

    @classmethod
    def load(cls, path: str) -> 'TrainedModel':
        """Reads a model to the CPU, wherever it was trained.

        Raises:
            InputError: If the file is not a model written by :meth:`save`.
        """
        with read_hdf5(path, 'model', written_by='train.py') as file:
            network = ShowAndTell(**json.loads(file.attrs['hyperparameters']))
            HDF5Deserializer(file['network']).load(network)
            source = FeatureSource.from_json(file.attrs['feature_source'])
            return cls(network, Vocabulary.read_from(file), source, str(path))
