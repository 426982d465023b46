"""What a training shows: the progress bar, the table, the plots, captions as it learns."""

import math
import sys

from lib.beam_search import beam_search
from lib.errors import InputError
from lib.files import replacing

import matplotlib.figure
import tqdm
from chainer import training
from matplotlib.ticker import MaxNLocator

TRAIN, VALIDATION = 'main', 'validation/main'


def add_perplexity(entry):
    """Adds the perplexities, the exponentials of the mean losses, to an entry of the log.

    Raises:
        InputError: If a loss is no number any more, or beyond all reason.
    """
    for prefix in TRAIN, VALIDATION:
        loss = entry[f'{prefix}/loss']
        # Above 700 nats the exponential leaves the range of a double.
        if not loss < 700:
            raise InputError(f'the loss is {loss} after epoch {entry["epoch"]}: the training '
                             'diverged; try a lower --lr or --gradient-clip')
        entry[f'{prefix}/perplexity'] = math.exp(loss)


class ProgressBar(training.Extension):
    """A bar for the epoch that runs, on standard error if that is a terminal."""

    trigger = 1, 'iteration'
    # Before the evaluation, during which the full bar says so.
    priority = training.PRIORITY_WRITER + 1

    def __init__(self, iterations_per_epoch):
        self._iterations_per_epoch = iterations_per_epoch
        self._bar = None

    def __call__(self, trainer):
        epoch = trainer.updater.epoch + (not trainer.updater.is_new_epoch)
        if self._bar is None or self._bar.n == self._bar.total:
            self.finalize()
            self._bar = tqdm.tqdm(total=self._iterations_per_epoch, unit='batch', leave=False,
                                  disable=None, desc=f'epoch {epoch}')
        self._bar.update()
        if trainer.updater.is_new_epoch:
            self._bar.n = self._bar.total
            self._bar.set_description(f'epoch {epoch}, validating')

    def finalize(self):
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class PrintEpoch(training.Extension):
    """Prints a row of the table for each epoch, from the log that ``LogReport`` keeps."""

    trigger = 1, 'epoch'
    columns = (
        # heading, key of the log, format
        ('epoch', 'epoch', '{:>5}'),
        ('iteration', 'iteration', '{:>9}'),
        ('loss', f'{TRAIN}/loss', '{:>7.4f}'),
        ('val loss', f'{VALIDATION}/loss', '{:>8.4f}'),
        ('perplexity', f'{TRAIN}/perplexity', '{:>10.2f}'),
        ('val perplexity', f'{VALIDATION}/perplexity', '{:>14.2f}'),
        ('accuracy', f'{TRAIN}/accuracy', '{:>8.2%}'),
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
            tqdm.tqdm.write('  '.join(f'{heading:>{len(form.format(0))}}'
                                      for heading, _, form in columns))
            self._header_printed = True
        tqdm.tqdm.write('  '.join(form.format(entry[key]) for _, key, form in columns))
        sys.stdout.flush()


class PlotLog(training.Extension):
    """Plots a quantity of the log over the epochs, for training and validation, as PNG.

    A quantity that is known for validation alone makes one line.

    Chainer's ``PlotReport`` writes into the old picture, which is broken if it is stopped
    there; this one replaces it.

    Args:
        quantity (str): ``'loss'``, ``'accuracy'`` or ``'CIDEr'``; in small letters also the name
            of the file.
        label (str): The label of the vertical axis.
    """

    trigger = 1, 'epoch'

    def __init__(self, quantity, label):
        self.quantity, self.label = quantity, label
        self.name = f'plot_{quantity}'

    def __call__(self, trainer):
        log = trainer.get_extension('LogReport').log
        epochs = [entry['epoch'] for entry in log]
        figure = matplotlib.figure.Figure(figsize=(7, 4.5), layout='constrained')
        axes = figure.add_subplot()
        for prefix, name, color in ((TRAIN, 'training', 'C0'),
                                    (VALIDATION, 'validation', 'C1')):
            key = f'{prefix}/{self.quantity}'
            if key in log[-1]:
                axes.plot(epochs, [entry[key] for entry in log], color, marker='o', markersize=3,
                          label=name)
        axes.set_xlabel('epoch')
        axes.set_ylabel(self.label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
        with replacing(f'{trainer.out}/{self.quantity.lower()}.png') as temporary:
            figure.savefig(temporary, format='png', dpi=120)


class PrintCaptions(training.Extension):
    """Prints captions of a few fixed images after each epoch, so that one sees it learn.

    Args:
        model (lib.trained_model.TrainedModel): The model in training.
        names (list of str): What to call the images.
        features (array): Their features, (n, D), on the model's device.
    """

    trigger = 1, 'epoch'

    def __init__(self, model, names, features):
        self.model, self.names, self.features = model, names, features

    def __call__(self, trainer):
        captions = beam_search(self.model.network, self.features, beam_width=3, top=1)
        for name, (best, *_) in zip(self.names, captions):
            tqdm.tqdm.write(f'        {name}: {self.model.vocabulary.decode(best.tokens)}')
        sys.stdout.flush()
