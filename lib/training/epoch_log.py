"""The log of a training run: an entry of means for each epoch."""

import json
import math
from collections import defaultdict

import chainer
from chainer.backends import cuda
from chainer.training import extensions

from lib.errors import DivergedError
from lib.files.output import write_json
from lib.processes import weighted_mean
from lib.training.output_folder import LOG

# Prefixes of the entries of the log.
TRAINING, VALIDATION = 'main', 'validation/main'
# What is logged with both prefixes.
QUANTITIES = 'loss', 'perplexity', 'accuracy'


def add_perplexity(entry):
    """Adds the perplexities, the exponentials of the mean losses, to an entry of the log.

    Raises:
        DivergedError: If a loss is NaN, or too large for its perplexity to be a float.
    """
    for prefix in TRAINING, VALIDATION:
        loss = entry[f'{prefix}/loss']
        # The exponential of more than 709 nats overflows.
        if not loss < 700:
            raise DivergedError(f'{prefix}/loss is {loss} after epoch {entry["epoch"]}')
        entry[f'{prefix}/perplexity'] = math.exp(loss)


class EpochLog(extensions.LogReport):
    """Chainer's ``LogReport`` of every epoch, whose means do not hold up a GPU.

    It replaces the file ``log`` atomically.

    Args:
        postprocess (callable): Takes each entry of the log, which it may change.
        run (dict): Added to the first entry after the run begins or resumes, as ``run``.
        criterion (str): The key by which epochs are compared.
        processes (lib.processes.Processes): Those whose observations are averaged.
    """

    # Under which snapshots store the log.
    name = 'LogReport'

    def __init__(self, postprocess, run, criterion, processes):
        self._processes = processes
        # Without a name, since Chainer does not write the file atomically.
        super().__init__(trigger=(1, 'epoch'), postprocess=postprocess, log_name=None)
        self._run, self._criterion = run, criterion

    def __call__(self, trainer):
        n_entries = len(self.log)
        super().__call__(trainer)
        if len(self.log) > n_entries:
            if self._run is not None:
                self.log[-1]['run'], self._run = self._run, None
            if self._processes.is_main:
                write_json(f'{trainer.out}/{LOG}', self.log)

    def exchange(self):
        """Exchanges the observations of this epoch, before a snapshot is written."""
        self._summary.exchange()

    def _init_summary(self):
        self._summary = WeightedMeans(self._processes)


class WeightedMeans:
    """Means of the values that are observed in an epoch, instead of ``DictSummary``.

    That one adds up single values with ten operations on a GPU in each iteration, and on any
    device in float32. Here they are kept as they are until there are ``MAX_VALUES`` of them, which
    then takes a wait.

    Args:
        processes (lib.processes.Processes): Each has observations of its own; the means are those
            of all.
    """

    # Values of a quantity that are kept; each takes half a kilobyte of a GPU's memory.
    MAX_VALUES = 1000

    def __init__(self, processes):
        self._processes = processes
        self._values, self._weights = defaultdict(list), defaultdict(list)
        # What each process has observed, where that is about to be saved.
        self._exchanged = None

    def add(self, observation):
        """Adds a dictionary of scalars, or of pairs of a scalar and its weight."""
        for name, value in observation.items():
            value, weight = value if isinstance(value, tuple) else (value, 1)
            self._values[name].append(value)
            self._weights[name].append(weight)
            self._shorten(name)

    def _shorten(self, name):
        if len(self._values[name]) >= self.MAX_VALUES:
            mean, weight = self._mean_of(name)
            self._values[name], self._weights[name] = [mean], [weight]

    def compute_mean(self):
        """Exchanges the means of all processes; returns a dictionary of the means of those."""
        return self._processes.mean({name: self._mean_of(name) for name in self._values})

    def _mean_of(self, name):
        """Returns the mean of a quantity and its weight."""
        return weighted_mean(self._on_host(name), self._weights[name]), sum(self._weights[name])

    def _on_host(self, name):
        """Returns a list of the values as floats."""
        values = self._values[name]
        on_gpu = [value for value in values if isinstance(value, cuda.ndarray)]
        on_cpu = [float(value) for value in values if not isinstance(value, cuda.ndarray)]
        if on_gpu:
            # Values from before, their mean or those of a snapshot, come first.
            on_cpu += cuda.cupy.stack(on_gpu).get().tolist()
        return on_cpu

    def exchange(self):
        """Exchanges all observations, which the next :meth:`serialize` saves."""
        self._exchanged = self._processes.all_gather(self._observations())

    def _observations(self):
        return {name: [self._on_host(name), self._weights[name]] for name in self._values}

    def serialize(self, serializer):
        """Saves or restores what has been observed in an epoch that is not over.

        Restored by another number of processes, the main one takes all.
        """
        observations = self._exchanged or [self._observations()]
        # The texts of floats are exact. Older snapshots are of the end of an epoch.
        saved = json.loads(serializer('observations', json.dumps(observations)))
        if isinstance(serializer, chainer.serializer.Deserializer):
            self._restore(saved)

    def _restore(self, saved):
        if len(saved) == self._processes.size:
            saved = [saved[self._processes.rank]]
        elif not self._processes.is_main:
            saved = []
        for observations in saved:
            for name, (values, weights) in observations.items():
                self._values[name] += values
                self._weights[name] += weights
                self._shorten(name)
