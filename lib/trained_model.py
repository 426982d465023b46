"""A trained model as one HDF5 file that contains all that is needed to use it."""

import json
from dataclasses import dataclass

import chainer
import numpy
from chainer.serializers import HDF5Deserializer, HDF5Serializer

from lib.captions.vocabulary import Vocabulary
from lib.errors import InputError
from lib.features.feature_source import FeatureSource
from lib.files.fingerprint import fingerprint
from lib.files.hdf5 import read_hdf5, read_text, write_hdf5, write_text
from models.show_and_tell import ShowAndTell


@dataclass
class TrainedModel:
    """A network, the tokens it predicts and the features it takes.

    Attributes:
        network (ShowAndTell): The network.
        vocabulary (Vocabulary): Its tokens.
        feature_source (FeatureSource): How the features it was trained on were extracted,
            None if unknown.
        bad_endings (array): The tokens with which hardly any training caption ends, see
            :meth:`lib.captions.dataset.CaptionDataset.bad_endings`, (n,), int32; None if unknown.
        path (str): The file it was read from, for error messages.
        run (dict): How it was trained, see :func:`lib.training.run_record.record_run`; of a mean
            of models, how each of them was; None if unknown.
    """

    network: ShowAndTell
    vocabulary: Vocabulary
    feature_source: FeatureSource | None = None
    bad_endings: numpy.ndarray | None = None
    path: str = 'the model'
    run: dict | None = None

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

    def fingerprint(self) -> str:
        """Returns a fingerprint of all that training changes or takes from the model."""
        network, send = self.network, chainer.get_device('@numpy').send
        arrays = [param.array for _, param in sorted(network.namedparams())]
        return fingerprint(*map(send, (*arrays, network.feature_mean, network.feature_scale)))

    def save(self, path: str):
        """Writes the model; arrays on a GPU are copied from there."""
        with write_hdf5(path, 'model') as file:
            write_text(file, 'hyperparameters', json.dumps(self.network.hyperparameters))
            write_text(file, 'feature_source', FeatureSource.to_json(self.feature_source))
            write_text(file, 'run', json.dumps(self.run))
            self.vocabulary.write_to(file)
            if self.bad_endings is not None:
                file['bad_endings'] = self.bad_endings
            HDF5Serializer(file.create_group('network'), compression=None).save(self.network)

    @classmethod
    def load(cls, path: str) -> 'TrainedModel':
        """Reads a model to the CPU, wherever it was trained.

        Raises:
            InputError: If the file is not a model written by :meth:`save`.
        """
        with read_hdf5(path, 'model', written_by='train.py') as file:
            network = ShowAndTell(**json.loads(read_text(file, 'hyperparameters')))
            HDF5Deserializer(file['network']).load(network)
            return cls(
                network,
                Vocabulary.read_from(file),
                FeatureSource.from_json(read_text(file, 'feature_source')),
                file['bad_endings'][()] if 'bad_endings' in file else None,
                str(path),
                json.loads(read_text(file, 'run')),
            )
