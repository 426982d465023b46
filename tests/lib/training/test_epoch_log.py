import numpy
import pytest

from lib.processes import Processes
from lib.training.epoch_log import WeightedMeans


@pytest.mark.parametrize(
    'n_values', [1, WeightedMeans.MAX_VALUES, 2 * WeightedMeans.MAX_VALUES + 3]
)
def test_means_are_weighted_however_many_values_there_are(device, n_values):
    rng = numpy.random.RandomState(0)
    values, weights = rng.rand(n_values).astype('float32'), rng.randint(1, 9, n_values)
    means = WeightedMeans(Processes())
    on_device = device.send(values)
    for k in range(n_values):
        means.add({'loss': (on_device[k], int(weights[k])), 'lr': 0.5})
    result = means.compute_mean()
    assert result['loss'] == pytest.approx(numpy.average(values, weights=weights), rel=1e-6)
    assert result['lr'] == 0.5
