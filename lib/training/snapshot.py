"""Everything that training needs to continue as if it had never stopped."""

import contextlib
import json
import os
import sys

import numpy
from chainer import training
from chainer.serializers import HDF5Deserializer, HDF5Serializer

from lib.cli.run import print_line
from lib.device import set_seed
from lib.errors import InputError
from lib.files.hdf5 import read_hdf5, read_text, write_hdf5, write_text
from lib.training.output_folder import RESTART, SNAPSHOT
from lib.training.stopping import check_finite

# Settings that are fingerprints of what was read; the model is the one to start from, if any.
FINGERPRINTS = 'captions', 'features', 'model'
# Settings that are options of another name.
OPTION_OF_SETTING = {
    'hidden_size': 'hidden',
    'embed_size': 'embed',
    'n_layers': 'layers',
    'last_epoch': 'epoch',
}
# What to do instead where a setting cannot change.
ADVICE = {'last_epoch': f', since the learning rate or scheduled sampling depends on it; {RESTART}'}


class Snapshot(training.Extension):
    """Writes the trainer to ``snapshot.h5`` after each epoch, and more often if wanted.

    Chainer's own ``snapshot`` pickles what is None, and does not replace the file atomically.

    Args:
        settings (dict): What must stay the same when training is resumed; JSON values.
        every (int): Iterations between snapshots; 0 writes one after each epoch only.
        processes (lib.processes.Processes): Of these the main one writes.

    Raises:
        InputError: If the training diverged; the file is left alone.
    """

    # After all other extensions, so that it saves their states at the end of the iteration.
    priority = training.PRIORITY_READER - 200

    def __init__(self, settings, every, processes):
        self._settings = settings
        self._every = every
        self._processes = processes

    def trigger(self, trainer):
        """Returns whether it is time for a snapshot."""
        updater = trainer.updater
        return updater.is_new_epoch or (self._every and updater.iteration % self._every == 0)

    def __call__(self, trainer):
        trainer.get_extension('EpochLog').exchange()
        if not self._processes.is_main:
            return
        check_finite(trainer.updater.get_optimizer('main'))
        with write_hdf5(os.path.join(trainer.out, SNAPSHOT), 'snapshot') as file:
            write_text(file, 'settings', json.dumps(self._settings))
            HDF5Serializer(file.create_group('trainer'), compression=None).save(trainer)


class RandomState(training.Extension):
    """Adds NumPy's random state, from which all random numbers come, to snapshots.

    Chainer's snapshots contain no random state.
    """

    def __call__(self, trainer):
        """Does nothing; only :meth:`serialize` matters."""

    def serialize(self, serializer):
        algorithm, keys, position, has_gauss, gauss = numpy.random.get_state()
        keys = serializer('keys', keys.copy())
        position = serializer('position', position)
        has_gauss = serializer('has_gauss', has_gauss)
        gauss = serializer('gauss', gauss)
        numpy.random.set_state((algorithm, keys, int(position), int(has_gauss), float(gauss)))


class SeedIterations(training.Extension):
    """Seeds the random numbers of a process other than the main one before each iteration.

    They depend on the iteration alone, so that snapshots need not contain them.

    Args:
        seed (int): Seed of the training.
        rank (int): Number of the process.
    """

    # After all that happens in an iteration.
    priority = training.PRIORITY_READER - 300

    def __init__(self, seed, rank):
        self._seed = seed
        self._rank = rank

    def trigger(self, trainer):
        """Returns True: every iteration. Chainer's trigger would expect a state in the snapshot."""
        return True

    def initialize(self, trainer):
        self(trainer)

    def __call__(self, trainer):
        set_seed(self._seed, self._rank, trainer.updater.iteration)


def save_interrupted(trainer, processes):
    """Saves what has been trained since the last snapshot, and says how to continue."""
    updater = trainer.updater
    if not updater.iteration:
        return
    trainer.get_extension('Snapshot')(trainer)
    # An exit code ends the other processes, so none leaves before the snapshot is complete.
    processes.wait_for_all()
    if processes.is_main:
        path = os.path.join(trainer.out, SNAPSHOT)
        with contextlib.suppress(OSError):  # nobody may be there to read it
            print_line(
                f'stopped after iteration {updater.iteration}, {updater.epoch_detail:.2f} epochs: '
                f'saved {path}; the same command with --resume continues',
                file=sys.stderr,
            )


def load_snapshot(path, trainer, settings):
    """Restores a trainer.

    Args:
        path (str): The snapshot.
        trainer (chainer.training.Trainer): A trainer built like the one that was saved.
        settings (dict): Its settings, as given to :class:`Snapshot`.

    Raises:
        InputError: If the file is not a snapshot, or of a training run with other settings.
    """
    with read_hdf5(path, 'snapshot', advice=RESTART) as file:
        _check_settings(path, json.loads(read_text(file, 'settings')), settings)
        HDF5Deserializer(file['trainer']).load(trainer)


def _check_settings(path, saved_settings, settings):
    changed = [name for name in FINGERPRINTS if saved_settings.pop(name) != settings[name]]
    if changed:
        raise InputError(
            f'{path}: was written with other data ({", ".join(changed)}); give all that the run '
            'was started with'
        )
    for name, saved in saved_settings.items():
        if name == 'batch_size' and settings[name] != saved:
            raise InputError(
                f'{settings[name]} in all processes: {path} was written with {saved}', option=name
            )
        if settings.get(name) != saved:
            raise InputError(
                f'{settings.get(name)}: {path} was written with {saved}, which cannot change'
                + ADVICE.get(name, ''),
                option=OPTION_OF_SETTING.get(name, name),
            )
