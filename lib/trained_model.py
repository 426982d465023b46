"""A trained model as one HDF5 file: all that is needed to use it, and how it was trained."""

import json
import platform
import sys
from dataclasses import dataclass

import chainer
import h5py
import numpy
from chainer.backends import cuda
from chainer.serializers import HDF5Deserializer, HDF5Serializer

from lib import VERSION
from lib.captions.vocabulary import Vocabulary
from lib.errors import InputError
from lib.features.feature_source import FeatureSource, check_same_source
from lib.files.fingerprint import fingerprint
from lib.files.hdf5 import read_hdf5, read_text, write_hdf5, write_text
from models import NETWORKS
from models.network import Network


@dataclass
class TrainedModel:
    """A network, the tokens it predicts and the features it takes.

    Attributes:
        network (models.network.Network): The network, of a class in :data:`models.NETWORKS`.
        vocabulary (Vocabulary): Its tokens.
        feature_source (FeatureSource): How the features it was trained on were extracted,
            None if unknown.
        path (str): The file it was read from, for error messages.
        run (dict): How it was trained, see :func:`record_run`; None if unknown.
    """

    network: Network
    vocabulary: Vocabulary
    feature_source: FeatureSource | None = None
    path: str = 'the model'
    run: dict | None = None

    @property
    def network_name(self) -> str:
        """The name of the network in :data:`models.NETWORKS`."""
        (name,) = (name for name, kind in NETWORKS.items() if type(self.network) is kind)
        return name

    def check_feature_size(self, size: int, origin: str, option: str | None = None):
        """Checks that features have the size that the network takes.

        Args:
            size (int): Their size.
            origin (str): Where they come from, for the error message.
            option (str): See :class:`lib.errors.InputError`.

        Raises:
            InputError: If they do not.
        """
        if size != self.network.feature_size:
            raise InputError(
                f'{origin}: features have size {size}, but {self.path} was trained on features '
                f'of size {self.network.feature_size}',
                option,
            )

    def check_features(self, features):
        """Checks that features are like those that the network was trained on.

        Args:
            features (lib.features.table.FeatureTable): The features.

        Raises:
            InputError: If they have another size, or are known to come from another network or
                layer; other differences are noted.
        """
        self.check_feature_size(features.shape[1], features.path)
        check_same_source(
            features.path, features.source, self.feature_source, f'{self.path} was trained with'
        )

    def fingerprint(self) -> str:
        """Returns a fingerprint of all that training changes or takes from the model."""
        network = self.network
        arrays = [param.array for _, param in sorted(network.namedparams())]
        arrays += network.feature_mean, network.feature_scale
        return fingerprint(*map(chainer.get_device('@numpy').send, arrays))

    def save(self, path: str, half: bool = False):
        """Writes the model; arrays on a GPU are copied from there.

        Args:
            path (str): File to write.
            half (bool): Store parameters as float16, which halves the file; they become float32
                when they are read.
        """
        network = self.network
        if half:
            network = network.copy('copy')
            for param in network.params():
                param.array = param.array.astype('float16')
        with write_hdf5(path, 'model') as file:
            write_text(file, 'network_name', self.network_name)
            write_text(file, 'hyperparameters', json.dumps(self.network.hyperparameters))
            write_text(file, 'feature_source', FeatureSource.to_json(self.feature_source))
            write_text(file, 'run', json.dumps(self.run))
            self.vocabulary.write_to(file)
            HDF5Serializer(file.create_group('network'), compression=None).save(network)

    @classmethod
    def load(cls, path: str, network: str | None = None) -> 'TrainedModel':
        """Reads a model to the CPU, wherever it was trained.

        Args:
            path (str): A file written by :meth:`save`.
            network (str): A key of :data:`models.NETWORKS`, if that network is to have the
                parameters; by default the one that was saved.

        Raises:
            InputError: If the file is not a model, or of another network.
        """
        with read_hdf5(path, 'model', advice='train.py writes one') as file:
            name = network or read_text(file, 'network_name')
            if name not in NETWORKS:
                raise InputError(f'{path}: its network "{name}" is not in models/__init__.py')
            try:
                network = NETWORKS[name](**json.loads(read_text(file, 'hyperparameters')))
                HDF5Deserializer(file['network']).load(network)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f'{path}: does not have the parameters of the network {name}'
                ) from error
            return cls(
                network,
                Vocabulary.read_from(file),
                FeatureSource.from_json(read_text(file, 'feature_source')),
                str(path),
                json.loads(read_text(file, 'run')),
            )


def record_run(flags: dict, data: dict, device, processes) -> dict:
    """Describes a training run, in JSON values.

    Args:
        flags (dict): The value of every flag, the seed among them.
        data (dict): A fingerprint of each kind of data that was read.
        device (chainer.backend.Device): Where the network is trained.
        processes (lib.processes.Processes): Those that train it.
    """
    return {
        'command': sys.argv,
        'flags': flags,
        'data': data,
        'device': _name_of(device),
        'processes': processes.size,
        'versions': {
            'show-and-tell-chainer': VERSION,
            'python': platform.python_version(),
            **{package.__name__: package.__version__ for package in _packages(device)},
        },
    }


def _packages(device):
    return [chainer, numpy, h5py, *([cuda.cupy] if device.xp is not numpy else [])]


def _name_of(device):
    if device.xp is numpy:
        return f'CPU {platform.machine()}'
    return cuda.cupy.cuda.runtime.getDeviceProperties(device.device.id)['name'].decode()
