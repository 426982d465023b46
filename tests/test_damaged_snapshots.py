"""Snapshots whose entries have the right types and shapes, but cannot be true."""

import json
import shutil

import h5py
import numpy
import pytest

from tests.helpers.assertions import assert_input_error
from tests.helpers.training import train

LOG_REPORT = 'trainer/extensions/LogReport'


def replace(name, value):
    """Returns a function that replaces an entry of an open file."""

    def change(file):
        del file[name]
        file[name] = numpy.frombuffer(value.encode(), 'uint8') if type(value) is str else value

    return change


def change_first_entry(**values):
    """Returns a function that changes the first entry of the log in an open file."""

    def change(file):
        log = json.loads(file[f'{LOG_REPORT}/_log'][()].tobytes())
        log[0] |= values
        replace(f'{LOG_REPORT}/_log', json.dumps(log))(file)

    return change


def observe(observations):
    return replace(f'{LOG_REPORT}/_summary/observations', json.dumps(observations))


@pytest.mark.parametrize(
    'change, problem',
    [
        (replace(f'{LOG_REPORT}/_log', '[]'), '0 entries after epoch 12'),
        (change_first_entry(note=float('nan')), 'damaged'),
        (change_first_entry(run={'note': float('inf')}), 'damaged'),
        (change_first_entry(epoch=10**400), 'no number "epoch"'),
        (observe({'main/loss': [[1.0], [0]]}), 'observations of main/loss'),
        (observe({'main/loss': [[1.0, 1.0], [1, -1]]}), 'observations of main/loss'),
        (observe({'main/loss': [[10**400], [1]]}), 'observations of main/loss'),
        (replace(f'{LOG_REPORT}/_trigger/previous_epoch_detail', 1e308), 'in epoch 1e+308'),
        (replace('trainer/extension_triggers/SaveBest/previous_epoch_detail', 3.0), 'epoch 3.0'),
        (replace('trainer/extensions/RandomState/has_gauss', 2**40), 'random numbers'),
        (replace('settings', '{}'), 'settings'),
    ],
)
def test_what_cannot_be_true_is_refused(data, trained, tmp_path, change, problem):
    (tmp_path / 'result').mkdir()
    shutil.copy(trained[0] / 'snapshot.h5', tmp_path / 'result')
    with h5py.File(tmp_path / 'result' / 'snapshot.h5', 'a') as file:
        change(file)
    flags = '--epoch 13 --standardize --dropout 0.1 --resume'
    process = train(data, tmp_path / 'result', flags)
    assert_input_error(process, 'snapshot.h5: not a snapshot file, or damaged', problem)
