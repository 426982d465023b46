"""The flags of ``train.py``."""

import argparse
import os
import warnings

from lib.cli.parser import ArgumentParser, add_device_flags, add_seed_flag, number
from lib.errors import InputError, InputWarning
from lib.evaluation.metrics import check_pycocoevalcap
from lib.features.flags import add_data_flags
from lib.files.output import check_outputs
from lib.processes import COMMUNICATORS
from lib.training.best_epoch import CRITERIA
from lib.training.optimizers import OPTIMIZERS
from lib.training.output_folder import BEST, LOG, RESTART, SNAPSHOT, has_models
from models import NETWORKS

# Flags that must stay the same when training is resumed.
FIXED_FLAGS = (
    'batch_size', 'optimizer', 'loss_reduction', 'lr', 'lr_schedule', 'lr_decay',
    'lr_decay_every', 'warmup_iterations', 'weight_decay', 'label_smoothing',
    'scheduled_sampling', 'reward', 'reward_weight', 'reward_samples', 'gradient_clip',
    'select_by', 'standardize', 'seed',
)  # fmt: skip
# The hyperparameters that flags set.
HYPERPARAMETERS = {'hidden': 'hidden_size', 'embed': 'embed_size', 'layers': 'n_layers'}
# What applies with --reward where a flag is not given.
REWARD_DEFAULTS = {'reward_weight': 0.9, 'reward_samples': 5}


def add_file_flags(parser):
    group = parser.add_argument_group('files')
    add_data_flags(group)
    group.add_argument(
        '-o',
        '--output',
        default='result',
        metavar='FOLDER',
        help='folder for models, log, plots and snapshot',
    )
    group.add_argument(
        '-m', '--model', metavar='FILE', help='trained model to start from; its sizes are kept'
    )
    group.add_argument(
        '--resume',
        action='store_true',
        help=f'continue the training run in the output folder from its {SNAPSHOT}',
    )
    group.add_argument(
        '--snapshot-every',
        type=number(int, low=0),
        default=0,
        metavar='N',
        help=f'write {SNAPSHOT} every N iterations, too; 0 writes it after each epoch',
    )


def add_network_flags(parser):
    group = parser.add_argument_group('network')
    group.add_argument(
        '--network',
        choices=NETWORKS,
        help="network to train; plain is show_and_tell in Chainer's own links, slower; unless "
        'given, show_and_tell or that of --model',
    )
    for name, to_number, default, description in (
        ('hidden', number(int, low=1), 512, 'size of the recurrent layers'),
        ('embed', number(int, low=1), 512, 'size of the embedding'),
        ('layers', number(int, low=1, high=100), 1, 'number of recurrent layers'),
    ):
        group.add_argument(
            f'--{name}',
            type=to_number,
            metavar='N',
            help=f'{description}; unless given, {default} or that of --model',
        )
    group.add_argument(
        '--dropout',
        type=number(float, low=0, below=1),
        default=0.3,
        metavar='RATIO',
        help='share of values that dropout sets to zero; 0 turns it off',
    )
    group.add_argument(
        '--standardize',
        action=argparse.BooleanOptionalAction,
        help='give features mean 0 and standard deviation 1 over the training images, which the '
        'model stores; unless given, new models do and --model keeps its own',
    )


def add_optimization_flags(parser):
    group = parser.add_argument_group('optimization')
    group.add_argument(
        '--epoch',
        type=number(int, low=1),
        default=10,
        metavar='N',
        help='number of epochs, including those before --resume',
    )
    group.add_argument(
        '--batch-size',
        type=number(int, low=1),
        default=64,
        metavar='N',
        help='captions per iteration, in each process',
    )
    group.add_argument(
        '--optimizer', choices=OPTIMIZERS, default='adam', help='momentum is SGD with momentum 0.9'
    )
    group.add_argument(
        '--loss-reduction',
        choices=['mean', 'sentence'],
        default='mean',
        help='mean: the mean loss of all tokens; sentence: the sum over the tokens of a caption, '
        "the paper's loss, averaged over captions",
    )
    rates = ', '.join(f'{kind.default_rate} for {name}' for name, kind in OPTIMIZERS.items())
    group.add_argument(
        '--lr',
        type=number(float, above=0),
        metavar='RATE',
        help=f'learning rate; unless given, {rates}',
    )
    group.add_argument(
        '--lr-schedule',
        choices=['step', 'cosine'],
        default='cosine',
        help='cosine: the learning rate falls to 0 at the last epoch along half a cosine; step: it '
        'falls by --lr-decay, or not at all',
    )
    group.add_argument(
        '--lr-decay',
        type=number(float, above=0, high=1),
        metavar='FACTOR',
        help='factor of the learning rate at each step; unless given, 1, which keeps it',
    )
    group.add_argument(
        '--lr-decay-every',
        type=number(int, low=1),
        metavar='N',
        help='epochs between steps; unless given, 1',
    )
    group.add_argument(
        '--warmup-iterations',
        type=number(int, low=0),
        default=0,
        metavar='N',
        help='iterations over which the learning rate rises linearly to its value',
    )
    group.add_argument(
        '--weight-decay',
        type=number(float, low=0),
        default=0,
        metavar='RATE',
        help='share of each parameter added to its gradient',
    )
    group.add_argument(
        '--gradient-clip',
        type=number(float, low=0),
        default=0,
        metavar='NORM',
        help='maximum norm of the gradient of all parameters; 0 sets no limit',
    )
    group.add_argument(
        '--label-smoothing',
        type=number(float, low=0, below=1),
        default=0,
        metavar='SHARE',
        help="share of a target's probability spread over all tokens; printed losses exclude it",
    )
    group.add_argument(
        '--scheduled-sampling',
        type=number(float, low=0, below=1),
        default=0,
        metavar='P',
        help='probability of feeding in a predicted token instead of the correct one; rises '
        'linearly from 0 to this at the last epoch',
    )
    group.add_argument(
        '--reward',
        choices=['CIDEr'],
        help='also draw captions of the images of each batch, and raise the probability of those '
        'whose CIDEr-D against the references is high (self-critical training)',
    )
    group.add_argument(
        '--reward-weight',
        type=number(float, low=0, high=1),
        metavar='W',
        help='weight of the loss of --reward, from 0 to 1; the usual loss has the rest; unless '
        f'given, {REWARD_DEFAULTS["reward_weight"]}',
    )
    group.add_argument(
        '--reward-samples',
        type=number(int, low=2, high=1000),
        metavar='K',
        help='captions to draw of an image with --reward; images are those of one caption in K of '
        f'the batch; unless given, {REWARD_DEFAULTS["reward_samples"]}',
    )


def add_selection_flags(parser):
    group = parser.add_argument_group('best epoch')
    group.add_argument(
        '--select-by',
        choices=CRITERIA,
        default='loss',
        help='which epoch becomes best.h5: that of the lowest validation loss, or of the highest '
        'CIDEr of captions of the validation images',
    )
    group.add_argument(
        '--patience',
        type=number(int, low=0),
        default=0,
        metavar='N',
        help='stop after N epochs without a better one; 0 never stops early',
    )


def parse_args(description):
    """Parses the flags of ``train.py``, and completes and checks those that depend on others."""
    parser = ArgumentParser(description, recipes=True)
    add_device_flags(parser)
    parser.add_argument(
        '--communicator',
        choices=COMMUNICATORS,
        help='connect the processes that mpiexec has started: naive for CPUs, flat or pure_nccl '
        'for GPUs; see docs/scaling.md',
    )
    add_seed_flag(parser, 'weights, the order of captions and dropout')
    add_file_flags(parser)
    add_network_flags(parser)
    add_optimization_flags(parser)
    add_selection_flags(parser)
    args = parser.parse_args()
    complete_flags(args)
    if args.select_by == 'CIDEr':
        check_pycocoevalcap('CIDEr', option='select_by')
    if args.reward and args.model is None and not args.resume:
        warnings.warn(
            '--reward without --model starts from random weights; train without --reward first, '
            'then give that model',
            InputWarning,
            stacklevel=1,
        )
    return args


def check_run(args):
    """Checks that the output folder can be written, and has a training run to resume, or none."""
    snapshot = os.path.join(args.output, SNAPSHOT)
    has_snapshot = os.path.exists(snapshot)
    if args.resume and not has_snapshot:
        raise InputError(f'--resume: there is no {snapshot}; {RESTART}')
    if not args.resume and has_models(args.output):
        advice = 'continue it with --resume, or choose' if has_snapshot else 'choose'
        raise InputError(
            f'--output {args.output}: already contains a training run; {advice} another folder; '
            f'{RESTART}'
        )
    check_outputs(os.path.join(args.output, name) for name in (BEST, LOG, SNAPSHOT))


def check_sizes(args, network):
    """Checks that sizes that are given are those of the model to start from."""
    for name, hyperparameter in HYPERPARAMETERS.items():
        value = getattr(args, name)
        size = network.hyperparameters.get(hyperparameter)
        if value not in (None, size):
            raise InputError(f'{value}: differs from {args.model}, which has {size}', option=name)


def complete_flags(args):
    """Sets the flags that are not given and whose defaults depend on others.

    Raises:
        InputError: If a flag is given that has no effect without another one.
    """
    if args.lr is None:
        args.lr = OPTIMIZERS[args.optimizer].default_rate
    if args.standardize is None:
        args.standardize = args.model is None
    for name in 'lr_decay', 'lr_decay_every':
        if getattr(args, name) is None:
            setattr(args, name, 1)
        elif args.lr_schedule != 'step':
            raise InputError('needs --lr-schedule step', option=name)
    for name, default in REWARD_DEFAULTS.items():
        is_given = getattr(args, name) is not None
        if is_given and args.reward is None:
            raise InputError('needs --reward', option=name)
        if args.reward is not None and not is_given:
            setattr(args, name, default)


def fixed_settings(args, model, fingerprints, processes):
    """Returns what must stay the same when training is resumed, JSON values."""
    # What ends at the last epoch cannot be given another last epoch.
    ends_with_training = args.lr_schedule == 'cosine' or args.scheduled_sampling
    return {
        **fingerprints,
        **{name: getattr(args, name) for name in FIXED_FLAGS},
        'batch_size': args.batch_size * processes.size,
        'last_epoch': args.epoch if ends_with_training else None,
        'network': model.network_name,
        **model.network.hyperparameters,
    }
