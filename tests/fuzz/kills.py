"""Killing a training at random moments, again and again, until it has finished."""

import random
import shutil
import signal

import numpy

from tests.fuzz.cases import LIMITS, TRAINING, copy_folder
from tests.helpers.scripts import run_python
from tests.helpers.training import arrays_of

_, *FLAGS = (TRAINING.format(epoch=3) + '-i feats.mat --snapshot-every 1').split()
# Seconds after which the training is first killed at the latest.
LATEST_KILL = 0.6
# Runs train.py, which is killed after some seconds; the signal's default action is that of SIGKILL.
TRAIN_AND_DIE = """
import signal, sys
import train
signal.setitimer(signal.ITIMER_REAL, float(sys.argv.pop(1)))
train.run_main(train.main)
"""


def kill_training(number, seed, original, folder):
    """Kills and resumes a training until it has finished.

    Args:
        number, seed (int): What the moments depend on.
        original (pathlib.Path): From :func:`tests.fuzz.cases.make_folder`; its result was not
            interrupted.
        folder (pathlib.Path): Replaced by a copy of it.

    Returns:
        tuple: The number of kills, and what is wrong, None if nothing is.
    """
    copy_folder(original, folder)
    rng = random.Random(f'{seed} {number}')
    result = folder / 'out' / 'result'
    n_kills = 0
    latest_kill = LATEST_KILL
    while True:
        if not n_kills:
            shutil.rmtree(result, ignore_errors=True)
        resume = ['--resume'] if (result / 'snapshot.h5').exists() else []
        delay = rng.uniform(0, latest_kill)
        process = run_python(TRAIN_AND_DIE, delay, *FLAGS, *resume, cwd=folder, **LIMITS)
        if process.returncode == -signal.SIGALRM:
            n_kills += 1
            latest_kill *= 1.1  # so that it ends on a slow machine, too
        elif process.returncode:
            return n_kills, f'training {number} of seed {seed}, kill {n_kills}: {process}'
        elif n_kills:
            return n_kills, _complaint_about(result, original / 'out' / 'result')
        else:
            latest_kill /= 2  # on a fast machine


def _complaint_about(result, expected):
    names, expected_names = (
        {path.name for path in folder.iterdir()} for folder in (result, expected)
    )
    if names != expected_names:
        return f'wrote {sorted(names)}, not {sorted(expected_names)}'
    arrays, expected = (arrays_of(folder / 'epoch_003.h5') for folder in (result, expected))
    differ = [
        name
        for name in expected
        if name.startswith('network') and not numpy.array_equal(arrays[name], expected[name])
    ]
    return f'differs in {differ}' if differ else None
