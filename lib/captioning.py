"""Captions in words for many images."""

import tqdm

IMAGES_AT_ONCE = 64


def caption_images(search, model, vocabulary, features, rows):
    """Captions images, with a progress bar on standard error if that is a terminal.

    Args:
        search (callable): Takes a model and features, (B, D); returns for each image a list of
            :class:`lib.beam_search.Sentence`, such as :func:`lib.beam_search.beam_search`.
        model: What the search decodes with.
        vocabulary (lib.vocabulary.Vocabulary): The words of the model.
        features (array): (N, D), on the model's device.
        rows (array): Which of them to caption, (n,), integers, on the same device.

    Returns:
        list of list of tuple: For each image its captions, as text, in the order of the search,
        and their log-probabilities in nats.
    """
    found = []
    with tqdm.tqdm(total=len(rows), unit='image', disable=None, leave=False) as progress:
        for start in range(0, len(rows), IMAGES_AT_ONCE):
            batch = features[rows[start:start + IMAGES_AT_ONCE]]
            found += [[(vocabulary.decode(sentence.tokens), sentence.log_prob)
                       for sentence in sentences] for sentences in search(model, batch)]
            progress.update(len(batch))
    return found
