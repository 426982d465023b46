from types import SimpleNamespace

from lib.optimization import LearningRate

import pytest


def factors(**flags):
    """Returns what the rate is multiplied by at the beginning of epochs 0 to 4, of 10 steps."""
    args = SimpleNamespace(**{'optimizer': 'adam', 'lr': None, 'lr_schedule': 'step',
                              'lr_decay': 1, 'lr_decay_every': 1, 'warm_up': 0, 'epoch': 4,
                              **flags})
    schedule = LearningRate(args)
    return [schedule.factor(epoch, 10 * epoch) for epoch in range(5)]


def test_stays_unless_asked_to_change():
    assert factors() == [1] * 5


def test_falls_in_steps():
    assert factors(lr_decay=0.5) == [1, 0.5, 0.25, 0.125, 0.0625]
    assert factors(lr_decay=0.5, lr_decay_every=2) == [1, 1, 0.5, 0.5, 0.25]


def test_falls_along_half_a_cosine():
    assert factors(lr_schedule='cosine') == pytest.approx(
        [1, (1 + 0.5 ** 0.5) / 2, 0.5, (1 - 0.5 ** 0.5) / 2, 0])


def test_warms_up_whatever_follows():
    assert factors(warm_up=39) == pytest.approx([1 / 40, 11 / 40, 21 / 40, 31 / 40, 1])
    assert factors(warm_up=19, lr_decay=0.5) == pytest.approx([1 / 20, 11 / 40, 1 / 4, 1 / 8,
                                                               1 / 16])
