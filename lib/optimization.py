"""The flags that say how to train, and the optimiser they ask for."""

import math

from lib.adam import Adam
from lib.command_line import (
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    share,
)

import chainer
from chainer import optimizers, training

# What makes each optimiser, the name of its learning rate, and a rate that works for it here.
OPTIMIZERS = {
    'adam': (Adam, 'alpha', 0.001),
    'sgd': (optimizers.SGD, 'lr', 1.0),
    'momentum': (optimizers.MomentumSGD, 'lr', 0.1),
    'rmsprop': (optimizers.RMSprop, 'lr', 0.0005),
    'adagrad': (optimizers.AdaGrad, 'lr', 0.02),
}


def add_optimization_flags(parser):
    group = parser.add_argument_group('optimization')
    group.add_argument('--epoch', type=positive_int, default=50, metavar='N',
                       help='epochs in all, those before --resume included')
    group.add_argument('--batch-size', type=positive_int, default=128, metavar='N',
                       help='captions per minibatch')
    group.add_argument('--optimizer', choices=OPTIMIZERS, default='adam',
                       help='momentum is SGD with momentum 0.9')
    group.add_argument('--loss', choices=['mean', 'sentence'], default='mean',
                       help="what to minimise: the mean over words, or the paper's sum over a "
                            "sentence's words")
    group.add_argument('--lr', type=positive_float, metavar='RATE',
                       help='learning rate; if not given, ' + ', '.join(
                           f'{rate} for {name}' for name, (_, _, rate) in OPTIMIZERS.items()))
    group.add_argument('--lr-schedule', choices=['step', 'cosine'], default='step',
                       help='how the rate falls: by --lr-decay, or to 0 at the last epoch along '
                            'half a cosine')
    group.add_argument('--lr-decay', type=positive_float, default=1, metavar='FACTOR',
                       help='what the learning rate is multiplied by; 1 keeps it')
    group.add_argument('--lr-decay-every', type=positive_int, default=1, metavar='N',
                       help='epochs between two multiplications')
    group.add_argument('--warm-up', type=non_negative_int, default=0, metavar='N',
                       help='minibatches in which the rate rises from 0 to its value')
    group.add_argument('--weight-decay', type=non_negative_float, default=0, metavar='RATE',
                       help='share of each parameter added to its gradient')
    group.add_argument('--label-smoothing', type=share, default=0, metavar='SHARE',
                       help="share of a word's probability spread over all words; the losses "
                            'printed are without')
    group.add_argument('--scheduled-sampling', type=share, default=0, metavar='CHANCE',
                       help='feed in words that the network predicts instead of right ones, with '
                            'a chance that rises from 0 to this at the last epoch')
    group.add_argument('--gradient-clip', type=non_negative_float, default=0, metavar='NORM',
                       help='longest gradient, all parameters together; 0 is no limit')


# Flags that may not change when a training is resumed.
FIXED_FLAGS = ('batch_size', 'optimizer', 'loss', 'lr', 'lr_schedule', 'lr_decay',
               'lr_decay_every', 'warm_up', 'weight_decay', 'label_smoothing', 'scheduled_sampling',
               'gradient_clip')


def make_optimizer(args, network):
    """Returns the optimiser that the flags ask for, set up for a network."""
    make, rate_name, default = OPTIMIZERS[args.optimizer]
    optimizer = make(**{rate_name: args.lr or default}).setup(network)
    if args.weight_decay:
        optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(args.weight_decay))
    if args.gradient_clip:
        optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(args.gradient_clip))
    return optimizer


class ScheduledSampling(training.Extension):
    """Raises the chance of sampled words evenly, from 0 to ``chance`` at the last epoch."""

    trigger = 1, 'iteration'

    def __init__(self, network, chance, last_epoch):
        self.network, self.chance, self.last_epoch = network, chance, last_epoch

    def initialize(self, trainer):
        self(trainer)

    def __call__(self, trainer):
        self.network.sampling_chance = self.chance * min(
            1, trainer.updater.epoch_detail / self.last_epoch)


class LearningRate(training.Extension):
    """Sets the learning rate before each minibatch.

    It follows from how far the training is, so that a resumed one needs no state of it.
    """

    trigger = 1, 'iteration'

    def __init__(self, args):
        _, self.name, default = OPTIMIZERS[args.optimizer]
        self.args, self.rate = args, args.lr or default

    def initialize(self, trainer):
        self(trainer)

    def __call__(self, trainer):
        updater = trainer.updater
        setattr(updater.get_optimizer('main'), self.name,
                self.rate * self.factor(updater.epoch_detail, updater.iteration))

    def factor(self, epoch, iteration):
        """Returns what the rate is multiplied by after ``iteration`` minibatches.

        Args:
            epoch (float): Epochs so far.
            iteration (int): Minibatches so far.
        """
        args = self.args
        if args.lr_schedule == 'cosine':
            factor = (1 + math.cos(math.pi * min(1, epoch / args.epoch))) / 2
        else:
            factor = args.lr_decay ** (int(epoch) // args.lr_decay_every)
        return factor * min(1, (iteration + 1) / (args.warm_up + 1))
