"""The specification of beam search: one image, one caption, one token at a time."""

import numpy

from lib.captions.vocabulary import BOS, EOS
from lib.decoding.caption import Caption


def plain_beam_search(
    model, feature, beam_width, top, max_length, length_normalization=0, is_allowed=None
):
    """Searches like the reference program, until all captions of the beam are finished.

    Args:
        model, beam_width, top, max_length, length_normalization: As for
            :func:`lib.decoding.beam_search.beam_search`.
        feature (array): Features of one image, (D,), float.
        is_allowed (callable): Takes the tokens of a caption and a token; returns whether the
            caption may continue with that token. By default every token is allowed.

    Returns:
        list of Caption: The captions of the image, best first.
    """
    # Each item: tokens, log-probability, length with </S>, whether it is finished, state.
    beam = [([], 0.0, 0, False, model.start(feature[None]))]
    for _ in range(max_length):
        if all(finished for *_, finished, _ in beam):
            break
        candidates = []
        for tokens, log_prob, length, finished, state in beam:
            if finished:
                candidates.append((tokens, log_prob, length, True, None))
                continue
            last_token = numpy.array([tokens[-1] if tokens else BOS], 'int32')
            log_probs, next_state = model.step(last_token, state)
            n_best = len(log_probs[0]) if is_allowed else beam_width
            log_probs[0, BOS] = -numpy.inf
            for token in numpy.argsort(-log_probs[0])[:n_best].tolist():
                if is_allowed and not is_allowed(tokens, token):
                    continue
                total = log_prob + float(log_probs[0, token])
                if token == EOS:
                    candidates.append((tokens, total, length + 1, True, None))
                else:
                    candidates.append(([*tokens, token], total, length + 1, False, next_state))
        beam = sorted(
            candidates, key=lambda candidate: -candidate[1] / candidate[2] ** length_normalization
        )[:beam_width]
    return [Caption(tokens, log_prob) for tokens, log_prob, *_ in beam[:top]]
