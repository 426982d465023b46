import pytest

from lib.training.best_epoch import best_index


@pytest.mark.parametrize(
    'ciders, losses, by_cider, by_loss',
    [
        ([0.1, 0.3, 0.2], [3, 2, 1], 1, 2),
        ([0, 0, 0], [3, 1, 2], 1, 1),  # as of a single validation image
        ([0.3, 0.3, 0.1], [2, 2, 1], 0, 2),
    ],
)
def test_of_equal_cider_the_loss_decides(ciders, losses, by_cider, by_loss):
    log = [
        {'validation/main/CIDEr': cider, 'validation/main/loss': loss}
        for cider, loss in zip(ciders, losses)
    ]
    assert best_index(log, 'CIDEr') == by_cider
    assert best_index(log, 'loss') == by_loss
