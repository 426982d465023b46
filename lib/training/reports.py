"""Reports during training: a progress bar, a table, plots and sample captions."""

import math
import sys
from collections import defaultdict

import matplotlib.figure
import numpy
import tqdm
from chainer import training
from chainer.backends import cuda
from chainer.training import extensions
from matplotlib.ticker import MaxNLocator

from lib.decoding.beam_search import beam_search
from lib.errors import InputError
from lib.files import open_output, write_json

# Prefixes of the entries of the log.
TRAINING, VALIDATION = 'main', 'validation/main'
# The beam width of all captions decoded during training.
REPORT_BEAM_WIDTH = 3


def add_perplexity(entry):
    """Adds the perplexities, the exponentials of the mean losses, to an entry of the log.

    Raises:
        InputError: If a loss is NaN, or too large for its perplexity to be a float.
    """
    for prefix in TRAINING, VALIDATION:
        loss = entry[f'{prefix}/loss']
        # The exponential of more than 709 nats overflows.
        if not loss < 700:
            raise InputError(
                f'the loss is {loss} after epoch {entry["epoch"]}: the training diverged; try a '
                'lower learning rate or gradient clipping'
            )
        entry[f'{prefix}/perplexity'] = math.exp(loss)


class EpochLog(extensions.LogReport):
    """Chainer's ``LogReport`` of every epoch, whose means do not hold up a GPU.

    It replaces the file ``log`` atomically.

    Args:
        postprocess (callable): Takes each entry of the log, which it may change.
    """

    # Under which snapshots store the log.
    name = 'LogReport'

    def __init__(self, postprocess):
        super().__init__(trigger=(1, 'epoch'), postprocess=postprocess, filename=None)

    def __call__(self, trainer):
        n_entries = len(self.log)
        super().__call__(trainer)
        if len(self.log) > n_entries:
            write_json(f'{trainer.out}/log', self.log)

    def _init_summary(self):
        self._summary = WeightedMeans()


class WeightedMeans:
    """Means of the values that are observed in an epoch, instead of ``DictSummary``.

    That one adds up single values with ten operations on a GPU in each iteration, and on any
    device in float32. Here they are kept as they are until there are ``MAX_VALUES`` of them, which
    then takes a wait.
    """

    # Values of a quantity that are kept; each takes half a kilobyte of a GPU's memory.
    MAX_VALUES = 1000

    def __init__(self):
        self._values, self._weights = defaultdict(list), defaultdict(list)

    def add(self, observation):
        """Adds a dictionary of scalars, or of pairs of a scalar and its weight."""
        for name, value in observation.items():
            value, weight = value if isinstance(value, tuple) else (value, 1)
            self._values[name].append(value)
            self._weights[name].append(weight)
            if len(self._values[name]) == self.MAX_VALUES:
                mean, weight = self._mean(name), sum(self._weights[name])
                self._values[name], self._weights[name] = [mean], [weight]

    def compute_mean(self):
        """Returns a dictionary of the means."""
        return {name: self._mean(name) for name in self._values}

    def _mean(self, name):
        values = self._values[name]
        on_gpu = [value for value in values if isinstance(value, cuda.ndarray)]
        on_cpu = [value for value in values if not isinstance(value, cuda.ndarray)]
        if on_gpu:
            # The folded mean of earlier values, if any, comes first.
            on_cpu += cuda.cupy.stack(on_gpu).get().tolist()
        return float(numpy.average(numpy.array(on_cpu, 'float64'), weights=self._weights[name]))

    def serialize(self, serializer):
        """Does nothing: snapshots are taken at the end of an epoch, when nothing is kept."""


class ProgressBar(training.Extension):
    """A progress bar for each epoch, on standard error if that is a terminal."""

    trigger = 1, 'iteration'
    # Before the evaluation, during which the bar shows "validating".
    priority = training.PRIORITY_WRITER + 1

    def __init__(self, iterations_per_epoch):
        self._iterations_per_epoch = iterations_per_epoch
        self._bar = None

    def __call__(self, trainer):
        epoch = trainer.updater.epoch + (not trainer.updater.is_new_epoch)
        if self._bar is None or self._bar.n == self._bar.total:
            self.finalize()
            self._bar = tqdm.tqdm(
                total=self._iterations_per_epoch,
                unit='batch',
                leave=False,
                disable=None,
                desc=f'epoch {epoch}',
            )
        self._bar.update()
        if trainer.updater.is_new_epoch:
            self._bar.n = self._bar.total
            self._bar.set_description(f'epoch {epoch}, validating')

    def finalize(self):
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class PrintEpoch(training.Extension):
    """Prints a row of a table after each epoch, from the log of ``LogReport``."""

    trigger = 1, 'epoch'
    columns = (
        # heading, key of the log, format
        ('epoch', 'epoch', '{:>5}'),
        ('iteration', 'iteration', '{:>9}'),
        ('loss', f'{TRAINING}/loss', '{:>7.4f}'),
        ('val loss', f'{VALIDATION}/loss', '{:>8.4f}'),
        ('perplexity', f'{TRAINING}/perplexity', '{:>10.2f}'),
        ('val perplexity', f'{VALIDATION}/perplexity', '{:>14.2f}'),
        ('accuracy', f'{TRAINING}/accuracy', '{:>8.2%}'),
        ('val accuracy', f'{VALIDATION}/accuracy', '{:>12.2%}'),
        ('val CIDEr', f'{VALIDATION}/CIDEr', '{:>9.3f}'),
        ('elapsed', 'elapsed_time', '{:>8.0f} s'),
    )

    def __init__(self):
        self._header_printed = False

    def __call__(self, trainer):
        entry = trainer.get_extension('LogReport').log[-1]
        columns = [column for column in self.columns if column[1] in entry]
        if not self._header_printed:
            headings = (
                f'{heading:>{len(column_format.format(0))}}'
                for heading, _, column_format in columns
            )
            tqdm.tqdm.write('  '.join(headings))
            self._header_printed = True
        cells = (column_format.format(entry[key]) for _, key, column_format in columns)
        tqdm.tqdm.write('  '.join(cells))
        sys.stdout.flush()


class PlotLog(training.Extension):
    """Plots a quantity of the log over the epochs, for training and validation, as PNG.

    A quantity that is reported for validation alone gives one curve. Unlike Chainer's
    ``PlotReport`` it replaces the file, so that an interruption never leaves half a plot.

    Args:
        quantity (str): ``'loss'``, ``'accuracy'`` or ``'CIDEr'``; in lower case also the name
            of the file.
        label (str): Label of the vertical axis.
    """

    trigger = 1, 'epoch'

    def __init__(self, quantity, label):
        self._quantity, self._label = quantity, label
        self.name = f'plot_{quantity}'

    def __call__(self, trainer):
        log = trainer.get_extension('LogReport').log
        epochs = [entry['epoch'] for entry in log]
        figure = matplotlib.figure.Figure(figsize=(7, 4.5), layout='constrained')
        axes = figure.add_subplot()
        for prefix, name, color in ((TRAINING, 'training', 'C0'), (VALIDATION, 'validation', 'C1')):
            key = f'{prefix}/{self._quantity}'
            if key in log[-1]:
                values = [entry[key] for entry in log]
                axes.plot(epochs, values, color, marker='o', markersize=3, label=name)
        axes.set_xlabel('epoch')
        axes.set_ylabel(self._label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
        with open_output(f'{trainer.out}/{self._quantity.lower()}.png') as file:
            figure.savefig(file, format='png', dpi=120)


class PrintCaptions(training.Extension):
    """Prints captions of a few validation images after each epoch.

    Args:
        model (lib.trained_model.TrainedModel): The model in training.
        names (list of str): Names of the images.
        features (array): Their features, (n, D), on the model's device.
    """

    trigger = 1, 'epoch'

    def __init__(self, model, names, features):
        self._model, self._names, self._features = model, names, features

    def __call__(self, trainer):
        captions = beam_search(
            self._model.network, self._features, beam_width=REPORT_BEAM_WIDTH, top=1
        )
        for name, (best,) in zip(self._names, captions):
            tqdm.tqdm.write(f'        {name}: {self._model.vocabulary.decode(best.tokens)}')
        sys.stdout.flush()
