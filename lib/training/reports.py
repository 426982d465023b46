"""Reports during training: a progress bar, a table, plots and sample captions."""

import sys

import matplotlib.figure
import tqdm
from chainer import training
from matplotlib.ticker import MaxNLocator

from lib.cli.run import escape_control_characters
from lib.decoding.constraints import fault_constraints
from lib.decoding.decode import DecodingOptions, decode
from lib.decoding.ensemble import Ensemble
from lib.files.output import open_output
from lib.training.epoch_log import TRAINING, VALIDATION
from lib.training.output_folder import plot_file

# The beam width of all captions decoded during training.
REPORT_BEAM_WIDTH = 3


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
            # More than 0 after a resumption in the middle of an epoch.
            share_done = trainer.updater.previous_epoch_detail % 1
            self._bar = tqdm.tqdm(
                initial=int(share_done * self._iterations_per_epoch),
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
        ('reward', f'{TRAINING}/reward', '{:>6.3f}'),
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
        with open_output(f'{trainer.out}/{plot_file(self._quantity)}') as file:
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
        self._ensemble, self._names, self._features = Ensemble([model]), names, features

    def __call__(self, trainer):
        options = DecodingOptions(beam_width=REPORT_BEAM_WIDTH, top=1)
        constraints = fault_constraints(self._ensemble, options)
        captions = decode(self._ensemble, self._features, options, constraints=constraints)
        for name, (best,) in zip(self._names, captions):
            line = f'{name}: {self._ensemble.vocabulary.decode(best.tokens)}'
            tqdm.tqdm.write(f'        {escape_control_characters(line)}')
        sys.stdout.flush()
