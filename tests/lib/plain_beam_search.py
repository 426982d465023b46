"""The specification of beam search: one image, one sentence, one word at a time."""

from lib.beam_search import Sentence

import numpy


def plain_beam_search(model, feature, beam_width, top, max_length, length_normalization=0,
                      is_allowed=None):
    """Follows the reference program: goes on until all sentences of the beam are finished.

    ``is_allowed(words, word)`` says whether a word may follow.
    """
    beam = [([], 0.0, 0, False, model.start(feature[None]))]
    for _ in range(max_length):
        if all(finished for *_, finished, _ in beam):
            break
        candidates = []
        for words, log_prob, length, finished, state in beam:
            if finished:
                candidates.append((words, log_prob, length, True, None))
                continue
            last_word = numpy.array([words[-1] if words else 0], 'int32')
            log_probs, next_state = model.step(last_word, state)
            n_best = len(log_probs[0]) if is_allowed else beam_width
            for word in numpy.argsort(-log_probs[0])[:n_best].tolist():
                if is_allowed and not is_allowed(words, word):
                    continue
                total = log_prob + float(log_probs[0, word])
                if word == 1:
                    candidates.append((words, total, length + 1, True, None))
                else:
                    candidates.append(([*words, word], total, length + 1, False, next_state))
        beam = sorted(candidates, key=lambda candidate: -candidate[1] / candidate[2]
                      ** length_normalization)[:beam_width]
    return [Sentence(words, log_prob) for words, log_prob, *_ in beam[:top]]
