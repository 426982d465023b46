"""Training in several processes, which compute what one with their whole batch would."""

import numpy
from chainer import training
from chainer.training import extensions

from lib.device import set_seed
from lib.training.divergence import BatchIterator


def broadcast_order(processes):
    """Returns an order sampler for Chainer's iterators that gives all processes one order.

    The main process draws it as Chainer does by default.
    """
    return lambda order, position: processes.compute_on_main(numpy.random.permutation, len(order))


def make_updater(captions, batch_size, optimizer, processes, dataset, seed, **options):
    """Returns what updates a network with one batch after the other.

    Args:
        captions (array): The captions to train on, (n,), integers.
        batch_size (int): Captions in a batch of all processes.
        optimizer (chainer.Optimizer): Set up for the network.
        processes (lib.processes.Processes): The processes.
        dataset (lib.captions.dataset.CaptionDataset): The data set.
        seed (int): Seed of the random numbers.
        options: See Chainer's ``StandardUpdater``.
    """
    if processes.size == 1:
        iterator = BatchIterator(captions, batch_size)
        return training.updaters.StandardUpdater(iterator, optimizer, **options)
    iterator = BatchIterator(captions, batch_size, order_sampler=broadcast_order(processes))
    return ParallelUpdater(iterator, optimizer, processes, dataset.lengths, seed, **options)


class ParallelUpdater(training.updaters.StandardUpdater):
    """Updates a network with the gradient of a batch of which each process has a share.

    The losses of the shares are weighted so that the mean of their gradients, which the optimizer
    computes, is the gradient of the whole batch.

    Args:
        iterator (lib.training.divergence.BatchIterator): Gives all processes the same batches.
        optimizer (chainermn.optimizers._MultiNodeOptimizer): Set up for the network.
        processes (lib.processes.Processes): The processes.
        lengths (array): The number of tokens of each caption, (captions,).
        seed (int): Seed of the random numbers that other processes than the main one draw. They
            depend on the iteration alone, so that snapshots need not contain them.
        options: See ``StandardUpdater``.
    """

    def __init__(self, iterator, optimizer, processes, lengths, seed, **options):
        super().__init__(iterator, optimizer, **options)
        self._processes, self._lengths, self._seed = processes, lengths, seed
        # What each caption adds to the denominator of the mean loss: its targets, or 1.
        is_mean = optimizer.target.loss_reduction == 'mean'
        self._weights = lengths + 1 if is_mean else numpy.ones_like(lengths)

    def update_core(self):
        iterator, optimizer = self.get_iterator('main'), self.get_optimizer('main')
        batch, processes = numpy.asarray(iterator.next()), self._processes
        # Sorted, so that all have captions of nearly the same lengths and none waits for another.
        share = processes.share_of(batch[numpy.argsort(self._lengths[batch], kind='stable')])
        iterator.batch = share.tolist()
        factor = processes.size * self._weights[share].sum() / self._weights[batch].sum()
        if not processes.is_main:
            set_seed(self._seed, processes.rank, self.iteration)
        arguments = self.converter(iterator.batch, self.input_device)
        loss = self.loss_func or optimizer.target
        optimizer.update(lambda *arrays: loss(*arrays) * float(factor), *arguments)
        if iterator.is_new_epoch:
            optimizer.new_epoch(auto=True)


class ParallelEvaluator(extensions.Evaluator):
    """Chainer's evaluator of a share of the captions, with the means over all of them.

    Args:
        processes (lib.processes.Processes): The processes.
        weight (int): The number of targets in the share of this process.
        arguments, options: See ``Evaluator``.
    """

    def __init__(self, processes, weight, *arguments, **options):
        super().__init__(*arguments, **options)
        self._processes, self._weight = processes, weight

    def evaluate(self):
        means = super().evaluate() if self._weight else {}
        return self._processes.mean(
            {name: (float(mean), self._weight) for name, mean in means.items()}
        )
