"""Everything that training needs to continue as if it had never stopped."""

import json

import numpy
from chainer import training
from chainer.serializers import HDF5Serializer

from lib.checked_hdf5 import CheckedDeserializer, DamagedError
from lib.errors import InputError
from lib.hdf5 import read_hdf5, write_hdf5, write_text
from lib.training.divergence import check_finite
from lib.training.optimizers import OPTIMIZERS
from lib.training.output_folder import SNAPSHOT

# What settings were called before version 1.0.
RENAMED_SETTINGS = {
    'best_by': 'select_by',
    'loss': 'loss_reduction',
    'warm_up': 'warmup_iterations',
}
# What settings were that older snapshots do not contain, where others change the training.
ADDED_SETTINGS = {'reward': None}
# Settings that are fingerprints of what was read; the model is the one to start from, if any.
DATA = 'captions', 'features', 'model'
# Settings that are options of another name. The last epoch is a setting if the learning rate or
# scheduled sampling depends on it.
OPTION_OF_SETTING = {
    'hidden_size': 'hidden',
    'embed_size': 'embed',
    'n_layers': 'layers',
    'last_epoch': 'epoch',
}
# What to do instead where a setting cannot change.
ADVICE = {
    'last_epoch': ', since the learning rate or scheduled sampling depends on it; to train longer, '
    'give best.h5 with --model and another --output'
}


class Snapshot(training.Extension):
    """Writes the trainer to ``snapshot.h5`` after each epoch, and more often if wanted.

    Chainer's own ``snapshot`` extension converts it to a ``.npz`` dictionary first, whose
    strings HDF5 cannot store.

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
        self._settings, self._every, self._processes = settings, every, processes

    def trigger(self, trainer):
        """Returns whether it is time for a snapshot."""
        updater = trainer.updater
        return updater.is_new_epoch or (self._every and updater.iteration % self._every == 0)

    def __call__(self, trainer):
        trainer.get_extension('CheckLoss').check()
        trainer.get_extension('LogReport').exchange()
        if not self._processes.is_main:
            return
        check_finite(trainer.updater.get_optimizer('main'))
        with write_hdf5(f'{trainer.out}/{SNAPSHOT}', 'snapshot') as file:
            write_text(file, 'settings', json.dumps(self._settings))
            HDF5Serializer(file.create_group('trainer'), compression=None).save(trainer)


class RandomState(training.Extension):
    """Adds NumPy's random state, from which all random numbers come, to snapshots."""

    def __call__(self, trainer):
        """Does nothing; only :meth:`serialize` matters."""

    def serialize(self, serializer):
        algorithm, keys, position, has_gauss, gauss = numpy.random.get_state()
        keys = serializer('keys', keys.copy())
        position = serializer('position', position)
        has_gauss = serializer('has_gauss', has_gauss)
        gauss = serializer('gauss', gauss)
        if not 0 <= position <= len(keys) or has_gauss not in (0, 1):
            raise DamagedError(f'the position of the random numbers is {position}, {has_gauss}')
        numpy.random.set_state((algorithm, keys, position, has_gauss, gauss))


def load_snapshot(path, trainer, settings):
    """Restores a trainer.

    Args:
        path (str): The snapshot.
        trainer (chainer.training.Trainer): A trainer built like the one that was saved.
        settings (dict): Its settings, as given to :class:`Snapshot`.

    Raises:
        InputError: If the file is not a snapshot, or of a training run with other settings.
    """
    with read_hdf5(path, 'snapshot', written_by='train.py') as file:
        _check_settings(path, json.loads(file.text('settings')), settings)
        optimizer = trainer.updater.get_optimizer('main')
        for param in optimizer.target.params():
            # So that what is read must have the same shape.
            param.update_rule._init_states(param)
        CheckedDeserializer(file['trainer']).load(trainer)
        _check_order(trainer.updater.get_iterator('main'))
        _check_progress(trainer)


def _check_settings(path, saved_settings, settings):
    if not isinstance(saved_settings, dict) or 'batch_size' not in saved_settings:
        raise DamagedError('the settings are not those of a training run')
    changed = [name for name in DATA if saved_settings.pop(name, settings[name]) != settings[name]]
    if changed:
        raise InputError(
            f'{path}: was written with other data ({", ".join(changed)}); give all that the run '
            'was started with'
        )
    for name, saved in {**ADDED_SETTINGS, **saved_settings}.items():
        name = RENAMED_SETTINGS.get(name, name)
        if name == 'lr' and saved is None:  # older snapshots do not contain the default
            saved = OPTIMIZERS[settings['optimizer']].default_rate
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


def _check_order(iterator):
    """Checks that an iterator goes through all captions."""
    order = iterator._state.order
    if not numpy.array_equal(numpy.sort(order), numpy.arange(len(order))):
        raise DamagedError('the order of the captions is not a permutation')
    if not 0 <= iterator.current_position < len(order):
        raise DamagedError(f'the position in the epoch is {iterator.current_position}')


def _check_progress(trainer):
    """Checks that the log and what is due at the end of an epoch are as far as the iterator."""
    log_report, updater = trainer.get_extension('LogReport'), trainer.updater
    if len(log_report.log) != updater.epoch:
        raise DamagedError(f'the log has {len(log_report.log)} entries after epoch {updater.epoch}')
    triggers = [entry.trigger for entry in trainer._extensions.values()]
    for trigger in (*triggers, log_report._trigger):
        detail = getattr(trigger, '_previous_epoch_detail', updater.epoch_detail)
        if detail != updater.epoch_detail:
            raise DamagedError(f'a trigger was last asked in epoch {detail}')
