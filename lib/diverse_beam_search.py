"""Beam search whose captions differ from each other."""

import itertools

from lib.beam_search import Sentence, beam_search
from lib.vocabulary import END, START

import chainer
import numpy


def diverse_beam_search(model, features, beam_width, top, max_length, groups, diversity,
                        length_normalization=0, constraints=()):
    """Searches in groups that avoid each other's words (Vijayakumar et al., arXiv:1610.02424).

    The beam is divided into groups. A word that earlier groups chose in the same step of the
    same image costs ``diversity`` each time (the paper's Hamming diversity). A group hangs on
    earlier ones only, so one is searched after the other.

    Args:
        model, features, max_length, length_normalization, constraints: As for
            :func:`lib.beam_search.beam_search`.
        beam_width (int): Sentences kept at each step, in all groups together.
        top (int): Captions to return. They are taken from the groups in turn.
        groups (int): Number of groups, which ``beam_width`` is a multiple of.
        diversity (float): What a chosen word costs, in nats.

    Returns:
        list of list of Sentence: For each image its captions, the most probable first, with
        the log-probabilities that the model gives them.

    Raises:
        ValueError: If ``beam_width`` is no multiple of ``groups``.
    """
    if beam_width % groups:
        raise ValueError(f'a beam of {beam_width} cannot be divided into {groups} equal groups')
    avoid = ChosenWords(len(features), diversity)
    found = []
    for _ in range(groups):
        width = beam_width // groups
        found.append(beam_search(model, features, width, width, max_length,
                                 length_normalization, (*constraints, avoid)))
        avoid.start_next_group(found[-1], max_length)
    sentences = [[sentence for turn in itertools.zip_longest(*each) for sentence in turn
                  if sentence is not None][:top] for each in zip(*found)]
    return [sorted(each, key=lambda sentence: -sentence.log_prob)
            for each in _rescore(model, features, sentences, max_length)]


class ChosenWords:
    """The constraint that makes words costly that earlier groups chose in the same step."""

    def __init__(self, n_images, cost):
        self.n_images, self.cost = n_images, cost
        self.earlier, self.current = {}, {}

    def __call__(self, log_probs, words, images):
        xp = chainer.backend.get_array_module(log_probs)
        step = words.shape[1]
        if step:
            self.current.setdefault(step - 1, []).append((images, words[:, -1]))
        counts = xp.zeros((self.n_images, log_probs.shape[1]), log_probs.dtype)
        for chosen in self.earlier.get(step, ()):
            xp.add.at(counts, chosen, self.cost)
        log_probs -= counts[images]

    def start_next_group(self, sentences_of_images, max_length):
        """Makes the group's words costly from now on; what it found holds those of its end."""
        for image, sentences in enumerate(sentences_of_images):
            for sentence in sentences:
                if len(sentence.tokens) == max_length:
                    self.current.setdefault(max_length - 1, []).append(
                        (image, sentence.tokens[-1]))
        for step, chosen in self.current.items():
            self.earlier.setdefault(step, []).extend(chosen)
        self.current = {}


def _rescore(model, features, sentences, max_length):
    """Replaces the scores of sentences by the log-probabilities that a model gives them."""
    images = [image for image, each in enumerate(sentences) for _ in each]
    tokens = [sentence.tokens for each in sentences for sentence in each]
    targets = [words + [END] * (len(words) < max_length) for words in tokens]
    send, to_cpu = (chainer.get_device(device).send for device in (
        chainer.backend.get_device_from_array(features), '@numpy'))
    state = tuple(array[send(numpy.array(images))] for array in model.start(features))
    totals, last_words = numpy.zeros(len(tokens)), numpy.full(len(tokens), START, 'int32')
    for step in range(max(map(len, targets))):
        log_probs, state = model.step(send(last_words), state)
        next_words = numpy.array([words[step] if step < len(words) else END for words in targets],
                                 'int32')
        picked = to_cpu(log_probs[send(numpy.arange(len(tokens))), send(next_words)])
        totals += numpy.where([step < len(words) for words in targets], picked, 0)
        last_words = next_words
    scores = iter(totals.tolist())
    return [[Sentence(sentence.tokens, next(scores)) for sentence in each] for each in sentences]
