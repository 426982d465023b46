"""The optimizers that train the network."""

from typing import NamedTuple

import chainer
import numpy
from chainer import optimizers

from lib.device import check_memory
from lib.training.adam import Adam


class OptimizerKind(NamedTuple):
    """An optimizer.

    Attributes:
        make (callable): Its class.
        rate_name (str): What it calls its learning rate.
        default_rate (float): A learning rate that works well here.
        n_states (int): Numbers that it keeps of each parameter.
    """

    make: type
    rate_name: str
    default_rate: float
    n_states: int


OPTIMIZERS = {
    'adam': OptimizerKind(Adam, 'alpha', 0.001, 2),
    'sgd': OptimizerKind(optimizers.SGD, 'lr', 1.0, 0),
    'momentum': OptimizerKind(optimizers.MomentumSGD, 'lr', 0.1, 1),
    'rmsprop': OptimizerKind(optimizers.RMSprop, 'lr', 0.0005, 1),
    'adagrad': OptimizerKind(optimizers.AdaGrad, 'lr', 0.02, 1),
}


def check_training_memory(n_parameters: int, optimizer: str, n_logits: int, n_processes: int = 1):
    """Checks that training fits into the host's memory, as far as that can be foreseen.

    Args:
        n_parameters (int): See :meth:`models.network.Network.estimate_count`.
        optimizer (str): A key of ``OPTIMIZERS``.
        n_logits (int): Logits of a batch, by far its largest array.
        n_processes (int): How many processes on this machine train.

    Raises:
        InputError: If it does not fit.
    """
    n_arrays = 2 + OPTIMIZERS[optimizer].n_states  # values, gradients, states
    check_memory(
        n_processes * (n_arrays * n_parameters + n_logits) * numpy.dtype('float32').itemsize,
        f'training {n_parameters:,} parameters in batches with {n_logits:,} logits',
    )


def make_optimizer(
    network,
    name: str,
    learning_rate: float,
    weight_decay: float = 0,
    gradient_clip: float = 0,
    communicator=None,
) -> chainer.Optimizer:
    """Sets up an optimizer for a network.

    Args:
        network (chainer.Link): The network.
        name (str): A key of ``OPTIMIZERS``.
        learning_rate (float): Its learning rate.
        weight_decay (float): Share of each parameter added to its gradient; 0 for none.
        gradient_clip (float): Maximum norm of the gradient of all parameters; 0 for none.
        communicator (chainermn.communicators.CommunicatorBase): Averages the gradients of several
            processes, before all else is done with them; None for one process.

    Returns:
        chainer.Optimizer: The optimizer.
    """
    kind = OPTIMIZERS[name]
    optimizer = kind.make(**{kind.rate_name: learning_rate}).setup(network)
    if weight_decay:
        optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(weight_decay))
    if gradient_clip:
        optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(gradient_clip))
    if communicator is None:
        return optimizer
    import chainermn

    optimizer = chainermn.create_multi_node_optimizer(optimizer, communicator)
    communicator.bcast_data(network)
    # Otherwise the first update would do nothing but broadcast the parameters.
    optimizer.is_changed(network)
    return optimizer
