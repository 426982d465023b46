"""Killing a training at random moments, again and again, until it has finished."""

import functools
import random
import shutil
import signal

import numpy

from tests.fuzz.cases import TRAINING, copy_folder
from tests.helpers.forked import run_forked
from tests.helpers.training import arrays_of

COMMAND = (TRAINING.format(epoch=3) + '-i feats.mat --snapshot-every 1').split()
# Seconds after which the training is first killed at the latest; it takes one or two.
LATEST_KILL = 0.6


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
    rng, result = random.Random(f'{seed} {number}'), folder / 'out' / 'result'
    n_kills, latest_kill = 0, LATEST_KILL
    shutil.rmtree(result, ignore_errors=True)
    while True:
        resume = ['--resume'] if (result / 'snapshot.h5').exists() else []
        delay = rng.uniform(0, latest_kill)
        # The default action of this signal ends a process like SIGKILL.
        set_alarm = functools.partial(signal.setitimer, signal.ITIMER_REAL, delay)
        outcome = run_forked([*COMMAND, *resume], folder, prepare=set_alarm)
        if outcome.code == 0:
            return n_kills, _complaint_about(result, original / 'out' / 'result')
        if outcome.code != -signal.SIGALRM:
            return n_kills, f'training {number} of seed {seed}, kill {n_kills}: {outcome}'
        n_kills += 1
        latest_kill *= 1.1  # so that it ends on a slow machine, too


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
