"""Reports during training: a progress bar, a table, sample captions and plots."""

import os
import sys
import time

import tqdm
from chainer import training

from lib.captioner import Captioner
from lib.cli.run import escape_control_characters, print_line
from lib.decoding.ensemble import Ensemble
from lib.decoding.options import DecodingOptions
from lib.files.output import open_output
from lib.training.best_epoch import BEAM_WIDTH, CRITERIA, best_index
from lib.training.epoch_log import TRAINING, VALIDATION
from lib.training.output_folder import BEST, plot_file
from lib.training.snapshot import Snapshot

# Heading, key of the log, and format of each column of the table.
COLUMNS = (
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
# Labels of the quantities that are plotted, if they are in the log.
PLOTS = {
    'loss': 'loss (nats per token)',
    'accuracy': 'share of tokens predicted correctly',
    'CIDEr': 'CIDEr of captions',
}
# Of what prints, since whoever reads it may be gone, as tee is after Ctrl-C.
AFTER_SNAPSHOT = Snapshot.priority - 1
# Seconds between plots during training: drawing them takes longer than an epoch on a few captions.
PLOT_EVERY = 60


class ProgressBar(training.Extension):
    """A progress bar for each epoch on standard error, which Chainer's would write to files, too.

    Args:
        iterations_per_epoch (int): Its length.
    """

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
    """Prints a row of a table after each epoch, once its snapshot is written.

    Chainer's ``PrintReport`` writes control sequences of terminals even to files, and has one
    format for all columns.
    """

    trigger = 1, 'epoch'
    priority = AFTER_SNAPSHOT

    def __init__(self):
        self._header_printed = False

    def __call__(self, trainer):
        entry = trainer.get_extension('EpochLog').log[-1]
        columns = [column for column in COLUMNS if column[1] in entry]
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


class PrintCaptions(training.Extension):
    """Prints captions of a few validation images after each epoch.

    Args:
        model (lib.trained_model.TrainedModel): The model in training.
        names (list of str): Names of the images.
        features (array): Their features, (n, D), on the model's device.
    """

    trigger = 1, 'epoch'
    priority = AFTER_SNAPSHOT

    def __init__(self, model, names, features):
        self._captioner = Captioner(Ensemble([model]))
        self._names = names
        self._features = features

    def __call__(self, trainer):
        options = DecodingOptions(beam_width=BEAM_WIDTH, top=1)
        captions = self._captioner.caption_features(self._features, options)
        for name, (best,) in zip(self._names, captions):
            tqdm.tqdm.write(f'        {escape_control_characters(f"{name}: {best.text}")}')
        sys.stdout.flush()


class PlotLog(training.Extension):
    """Plots the log once a minute and when :meth:`draw` is called at the end.

    Chainer's ``PlotReport`` draws after each epoch, and leaves half a file if it is interrupted.
    """

    trigger = 1, 'epoch'

    def __init__(self):
        self._last_time = time.monotonic()

    def __call__(self, trainer):
        if time.monotonic() > self._last_time + PLOT_EVERY:
            self.draw(trainer)

    def draw(self, trainer):
        """Plots each quantity over the epochs, for training and validation, as PNG."""
        log = trainer.get_extension('EpochLog').log
        for quantity, label in PLOTS.items():
            if log and f'{VALIDATION}/{quantity}' in log[-1]:
                _plot(log, quantity, label, os.path.join(trainer.out, plot_file(quantity)))
        self._last_time = time.monotonic()


def _plot(log, quantity, label, path):
    import matplotlib.figure  # takes half a second
    from matplotlib.ticker import MaxNLocator

    epochs = [entry['epoch'] for entry in log]
    figure = matplotlib.figure.Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.add_subplot()
    for prefix, name, color in ((TRAINING, 'training', 'C0'), (VALIDATION, 'validation', 'C1')):
        key = f'{prefix}/{quantity}'
        if key in log[-1]:
            values = [entry[key] for entry in log]
            axes.plot(epochs, values, color, marker='o', markersize=3, label=name)
    axes.set_xlabel('epoch')
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    with open_output(path) as file:
        figure.savefig(file, format='png', dpi=120)


def print_start(dataset):
    """Prints how many captions there are, since the first epoch may take long."""
    counts = (
        f'{len(dataset.captions_of(split)):,} captions of {len(dataset.images_of(split)):,} images'
        for split in ('train', 'val')
    )
    print('training on {}, validating on {}'.format(*counts), flush=True)


def print_best(trainer, criterion):
    """Prints which epoch was the best, and where its model is."""
    log = trainer.get_extension('EpochLog').log
    best = log[best_index(log, criterion)]
    key, _ = CRITERIA[criterion]
    path = os.path.join(trainer.out, BEST)
    print_line(f'best validation {criterion} {best[key]:.4f} after epoch {best["epoch"]}: {path}')
