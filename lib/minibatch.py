"""Packing captions into minibatches without padding."""

from lib.vocabulary import END, START

import chainer
import numpy


def pack(captions, indices):
    """Packs captions time-major, longest first, as ``models.packed_lstm`` wants them.

    Args:
        captions (lib.caption_file.Captions): Where the captions are.
        indices (array): Which captions, (B,), integers.

    Returns:
        tuple: ``order`` (B,), the captions in the order they were packed; ``inputs`` (R,),
        the start word and the caption's words, int32; ``targets`` (R,), the caption's words
        and the end word, int32; and ``batch_sizes``, a list of the number of captions
        running at each word, which sums to R.
    """
    lengths = captions.lengths[indices]
    longest_first = numpy.argsort(-lengths, kind='stable')
    order, lengths = indices[longest_first], lengths[longest_first]

    step = numpy.arange(lengths[0] + 1)[:, None]
    running = step <= lengths
    is_word = step < lengths
    targets = numpy.full(running.shape, END, 'int32')
    targets[is_word] = captions.tokens[(captions.offsets[order] + step)[is_word]]
    inputs = numpy.full(running.shape, START, 'int32')
    inputs[1:] = targets[:-1]
    return order, inputs[running], targets[running], running.sum(axis=1).tolist()


def make_converter(captions, features):
    """Returns a Chainer converter from caption indices to the arguments of the model's loss.

    Args:
        captions (lib.caption_file.Captions): The data set.
        features (array): One row per ``imgid``, (N, D), on the device that trains: only a
            few indices travel there for each minibatch.
    """
    @chainer.dataset.converter()
    def convert(indices, device):
        order, inputs, targets, batch_sizes = pack(captions, numpy.asarray(indices))
        columns = captions.imgid[captions.image[order]]
        # One transfer instead of three: each has a fixed cost on a GPU.
        sent = device.send(numpy.concatenate((columns, inputs, targets)))
        columns, inputs, targets = (
            sent[:len(order)], sent[len(order):-len(targets)], sent[-len(targets):])
        return features[columns], inputs, targets, batch_sizes
    return convert
