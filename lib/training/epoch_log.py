"""The log of a training run: an entry of means for each epoch."""

import json
import math
import os
from collections import defaultdict

import chainer
from chainer.backends import cuda
from chainer.training import extensions

from lib.captions.batch import make_converter
from lib.errors import DivergedError
from lib.files.output import write_json
from lib.processes import weighted_mean
from lib.training.output_folder import LOG

# Prefixes of the entries of the log.
TRAINING = 'main'
VALIDATION = 'validation/main'


class EpochLog(extensions.LogReport):
    """A ``LogReport`` of every epoch, with perplexities.

    Chainer's own would make a GPU compute means after each iteration, on any device in float32, of
    one process alone; and it does not replace the file ``log`` atomically.

    Args:
        run (dict): Added to the first entry after the run begins or resumes, as ``run``.
        processes (lib.processes.Processes): Those whose observations are averaged.
    """

    def __init__(self, run, processes):
        self._run = run
        self._processes = processes
        # Without a name, since Chainer does not write the file atomically.
        super().__init__(trigger=(1, 'epoch'), postprocess=_add_perplexity, log_name=None)

    def __call__(self, trainer):
        n_entries = len(self.log)
        super().__call__(trainer)
        if len(self.log) > n_entries:
            if self._run is not None:
                self.log[-1]['run'] = self._run
                self._run = None
            if self._processes.is_main:
                write_json(os.path.join(trainer.out, LOG), self.log)

    def exchange(self):
        """Exchanges the observations of this epoch, before a snapshot is written."""
        self._summary.exchange()

    def _init_summary(self):
        self._summary = WeightedMeans(self._processes)


def _add_perplexity(entry):
    """Adds the perplexities, the exponentials of the mean losses, to an entry of the log."""
    for prefix in TRAINING, VALIDATION:
        loss = entry[f'{prefix}/loss']
        # The exponential of more than 709 nats overflows.
        if not loss < 700:
            raise DivergedError(f'{prefix}/loss is {loss} after epoch {entry["epoch"]}')
        entry[f'{prefix}/perplexity'] = math.exp(loss)


class TokenMeanEvaluator(extensions.Evaluator):
    """Chainer's evaluator of the validation captions, with means over their tokens.

    ChainerMN's multi-node evaluator gives all processes the same weight.

    Args:
        network (models.network.Network): The network in training.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        features (lib.features.table.FeatureTable): The features of its images.
        batch_size (int): Captions at a time.
        processes (lib.processes.Processes): Each of them takes a share of the captions.
    """

    def __init__(self, network, dataset, features, batch_size, processes):
        captions = processes.share_of(dataset.captions_of('val'))
        iterator = chainer.iterators.SerialIterator(
            captions, batch_size, repeat=False, shuffle=False
        )
        converter = make_converter(dataset, features)
        super().__init__(iterator, network, converter=converter, device=network.device)
        self._n_targets = int((dataset.lengths[captions] + 1).sum())
        self._processes = processes

    def evaluate(self):
        means = super().evaluate() if self._n_targets else {}
        return self._processes.mean(
            {name: (float(mean), self._n_targets) for name, mean in means.items()}
        )


class WeightedMeans:
    """Means of the values that are observed in an epoch, instead of Chainer's ``DictSummary``.

    Values stay on a GPU until there are ``MAX_VALUES`` of them; only then the host waits for it.

    Args:
        processes (lib.processes.Processes): Each has observations of its own; the means are those
            of all.
    """

    # Values of a quantity that are kept; each takes half a kilobyte of a GPU's memory.
    MAX_VALUES = 1000

    def __init__(self, processes):
        self._processes = processes
        self._values = defaultdict(list)
        self._weights = defaultdict(list)
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
            self._values[name] = [mean]
            self._weights[name] = [weight]

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
        # The texts of floats are exact.
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
