"""The specification of beam search: one image, one sentence, one word at a time."""

from lib.beam_search import Sentence

import numpy


def plain_beam_search(model, feature, beam_width, top, max_length):
    """Follows the reference program: goes on until all sentences of the beam are finished."""
    beam = [([], 0.0, False, model.start(feature[None]))]
    for _ in range(max_length):
        if all(finished for _, _, finished, _ in beam):
            break
        candidates = []
        for words, log_prob, finished, state in beam:
            if finished:
                candidates.append((words, log_prob, True, None))
                continue
            last_word = numpy.array([words[-1] if words else 0], 'int32')
            log_probs, next_state = model.step(last_word, state)
            for word in numpy.argsort(-log_probs[0])[:beam_width].tolist():
                total = log_prob + float(log_probs[0, word])
                if word == 1:
                    candidates.append((words, total, True, None))
                else:
                    candidates.append(([*words, word], total, False, next_state))
        beam = sorted(candidates, key=lambda candidate: -candidate[1])[:beam_width]
    return [Sentence(words, log_prob) for words, log_prob, _, _ in beam[:top]]
