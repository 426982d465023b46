"""What decoders need of a network: its predictions, one token after the other.

A state is an array whose first axis is captions, or a tuple of states. Nothing here knows how
many arrays there are or what they hold.
"""

import chainer


def start(model, features):
    """Feeds images to a network, or to an ensemble.

    Args:
        model: Has ``start`` and ``step`` like :class:`models.show_and_tell.ShowAndTell`; they may
            return arrays or variables.
        features (array): Image features, (B, D), float.

    Returns:
        The state before the first token, of B captions.
    """
    with chainer.no_backprop_mode(), chainer.using_config('train', False):
        return _arrays_of(model.start(features))


def step(model, tokens, state):
    """Feeds one token to each of n captions.

    Args:
        model: As for :func:`start`.
        tokens (array): Token indices, (n,), int32.
        state: The state before, of n captions.

    Returns:
        tuple: Log-probabilities, in nats, of every next token, (n, V), an array that may be
        changed; and the new state.
    """
    with chainer.no_backprop_mode(), chainer.using_config('train', False):
        log_probs, state = model.step(tokens, state)
        return chainer.as_array(log_probs), _arrays_of(state)


def select(state, rows):
    """Returns the state of some of the captions.

    Args:
        state: A state.
        rows (array or slice): The captions.
    """
    if isinstance(state, tuple):
        return tuple(select(part, rows) for part in state)
    return state[rows]


def _arrays_of(state):
    """Returns a state whose variables have become arrays."""
    if isinstance(state, tuple):
        return tuple(_arrays_of(part) for part in state)
    return chainer.as_array(state)
