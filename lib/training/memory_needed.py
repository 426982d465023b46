"""The memory that training takes."""

import numpy

from lib.device import check_memory
from lib.training.optimizers import OPTIMIZERS
from models.show_and_tell import count_values


def check_training_memory(sizes, optimizer, batch_size, lengths, n_processes=1):
    """Checks that a network can be trained in the host's memory, before any is allocated for it.

    Args:
        sizes (dict): Arguments of :class:`models.show_and_tell.ShowAndTell`.
        optimizer (str): A key of :data:`lib.training.optimizers.OPTIMIZERS`.
        batch_size (int): Captions in a batch.
        lengths (array): The number of tokens of each caption to train on, (n,).
        n_processes (int): How many processes on this machine do so.

    Raises:
        InputError: If it cannot.
    """
    # What is kept of each token for the backward pass, at least: input, gates and states.
    n_kept = sizes['embed_size'] + 6 * sizes['hidden_size'] * sizes['n_layers']
    n_tokens = min(batch_size, len(lengths)) * lengths.mean()
    n_arrays = 2 + OPTIMIZERS[optimizer].n_states  # values, gradients, states
    n_values = n_arrays * count_values(**sizes) + int(n_tokens * n_kept)
    check_memory(
        n_processes * n_values * numpy.dtype('float32').itemsize,
        f'training a network of hidden size {sizes["hidden_size"]}, embedding size '
        f'{sizes["embed_size"]} and {sizes["n_layers"]} layers in batches of {batch_size} captions',
    )
