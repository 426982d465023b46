"""Everything a training needs to go on as if it had never stopped."""

import json

from lib.errors import InputError
from lib.files import replacing

import h5py
import numpy
from chainer import training
from chainer.serializers import HDF5Deserializer, HDF5Serializer

FORMAT = 'show-and-tell snapshot 1'
FILE_NAME = 'snapshot.h5'


class Snapshot(training.Extension):
    """Writes the whole trainer to ``snapshot.h5``.

    Chainer's own ``snapshot`` extension goes through ``.npz`` dictionaries, whose strings
    HDF5 cannot hold.

    Args:
        settings (dict): What may not change when the training is resumed; JSON values.
    """

    trigger = 1, 'epoch'
    # After every other extension, so that their states are those of the epoch's end.
    priority = training.PRIORITY_READER - 200

    def __init__(self, settings):
        self.settings = settings

    def __call__(self, trainer):
        with (replacing(f'{trainer.out}/{FILE_NAME}') as temporary,
              h5py.File(temporary, 'w') as file):
            file.attrs['format'] = FORMAT
            file.attrs['settings'] = json.dumps(self.settings)
            HDF5Serializer(file.create_group('trainer'), compression=None).save(trainer)


class RandomState(training.Extension):
    """Puts the state of NumPy's random numbers (order of captions, dropout) into snapshots."""

    def __call__(self, trainer):
        """Does nothing: only :meth:`serialize` matters."""

    def serialize(self, serializer):
        kind, keys, position, has_gauss, gauss = numpy.random.get_state()
        keys = serializer('keys', keys.copy())
        position = serializer('position', position)
        has_gauss = serializer('has_gauss', has_gauss)
        gauss = serializer('gauss', gauss)
        numpy.random.set_state((kind, keys, position, has_gauss, gauss))


def load_snapshot(path, trainer, settings):
    """Restores a trainer.

    Args:
        path (str): The snapshot.
        trainer (chainer.training.Trainer): A trainer built as the one that was saved.
        settings (dict): Its settings, as given to :class:`Snapshot`.

    Raises:
        InputError: If the file is no snapshot, or of a training with other settings.
    """
    try:
        with h5py.File(path) as file:
            if file.attrs.get('format') != FORMAT:
                raise InputError(f'{path}: not a snapshot of train.py')
            for name, before in json.loads(file.attrs['settings']).items():
                if settings[name] != before:
                    raise InputError(f'--resume: {name} is {settings[name]} now, but was {before} '
                                     f'when {path} was written')
            HDF5Deserializer(file['trainer']).load(trainer)
    except FileNotFoundError:
        raise InputError(f'--resume: there is no {path} to go on from') from None
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f'{path}: not a snapshot of train.py, or damaged') from error
