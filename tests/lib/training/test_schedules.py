import pytest

from lib.training.schedules import LearningRateSchedule


def rates(**options):
    """Returns the learning rates at the start of epochs 0 to 4, of 10 iterations each."""
    schedule = LearningRateSchedule(rate=1, last_epoch=4, **options)
    return [schedule(epoch, 10 * epoch) for epoch in range(5)]


def test_rate_is_constant_by_default():
    assert rates() == [1] * 5


def test_rate_is_the_factor_of_the_schedule():
    schedule = LearningRateSchedule(rate=0.2, decay=0.5)
    assert schedule(2, 20) == pytest.approx(0.05)


def test_rate_falls_in_steps():
    assert rates(decay=0.5) == [1, 0.5, 0.25, 0.125, 0.0625]
    assert rates(decay=0.5, decay_every=2) == [1, 1, 0.5, 0.5, 0.25]


def test_rate_falls_along_half_a_cosine():
    assert rates(kind='cosine') == pytest.approx(
        [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0]
    )


def test_rate_warms_up_before_it_falls():
    assert rates(warmup_iterations=39) == pytest.approx([1 / 40, 11 / 40, 21 / 40, 31 / 40, 1])
    assert rates(warmup_iterations=19, decay=0.5) == pytest.approx(
        [1 / 20, 11 / 40, 1 / 4, 1 / 8, 1 / 16]
    )
