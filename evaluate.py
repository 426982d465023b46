"""Captions a split of a data set and scores the captions as the field does."""

import functools
import os

from lib.caption_file import Captions
from lib.captioning import caption_images
from lib.command_line import (
    ArgumentParser,
    add_device_flag,
    run,
    seed,
    seed_everything,
    select_device,
)
from lib.ensemble import average_weights, load_models
from lib.errors import InputError
from lib.features import check_features, load_features
from lib.files import write_json
from lib.html_page import Card, write_page
from lib.karpathy import SPLITS
from lib.likelihood import mean_log_prob
from lib.scores import CaptionScorer, has_java
from lib.search_flags import add_search_flags, make_search
from lib.tokens import tokenize

import chainer
import numpy

SHOWN_CAPTIONS = 5


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flag(parser)
    parser.add_argument('-m', '--model', required=True, nargs='+', metavar='FILE',
                        help='trained models, such as best.h5; several caption together')
    parser.add_argument('--average', metavar='FILE',
                        help="average the models' weights, not their probabilities, and write "
                             'the model that this makes here')
    parser.add_argument('-s', '--sentence', default='captions.h5', metavar='FILE',
                        help='captions, from preprocess_vocab.py')
    parser.add_argument('-i', '--image', default='vgg_feats.mat', metavar='FILE',
                        help='image features, as for train.py')
    parser.add_argument('--split', default='val', choices=SPLITS, help='images to caption')
    parser.add_argument('--json', metavar='FILE',
                        help="also write the captions here, in COCO's results format, and the "
                             'scores beside it; with several beam widths each gets its file')
    parser.add_argument('--html', metavar='FILE',
                        help='also write a page of the images, their captions and references '
                             'here, the best scored first; with several beam widths the last')
    parser.add_argument('--image-root', metavar='FOLDER',
                        help='where the photographs for --html are; if not given, it shows none')
    parser.add_argument('--seed', type=seed, default=0, metavar='N',
                        help='for --sample and --consensus')
    add_search_flags(parser, several_widths=True)
    return parser.parse_args()


def main():
    args = parse_args()
    search = make_search(args)
    device = select_device(args.gpu)
    if args.average:
        average_weights(args.model).save(args.average)
        args.model = [args.average]
    model, first = load_models(args.model, device)
    captions = Captions.load(args.sentence)
    images = captions.images_of(args.split)
    if not images.size:
        raise InputError(f'{args.sentence}: has no captions in the split "{args.split}"')
    features = load_features(args.image)
    check_features(features, captions, args.image)
    check_model(args, first, captions, features)
    evaluate(args, search, model, first, captions, images, device.send(features.array))


def evaluate(args, search, model, first, captions, images, features):
    """Prints the loss and a row of scores for each beam width, and writes what is asked for."""
    unit = captions.vocabulary.unit
    with_java = unit == 'words' and has_java()
    scorer = CaptionScorer(captions.references_of(images), with_java, unit)
    training_texts = captions.training_texts()
    print_loss(model, first, captions, args.split, features)
    device = chainer.backend.get_device_from_array(features)
    columns, rows = device.send(captions.imgid[images]), []
    for beam_width in args.beam_width:
        seed_everything(args.seed, device)
        top = min(beam_width, SHOWN_CAPTIONS if args.html else 1)
        found = caption_images(functools.partial(search, beam_width=beam_width, top=top),
                               model, first.vocabulary, features, columns)
        texts = [sentences[0][0] for sentences in found]
        scores, cider = scorer(texts)
        rows.append({'beam_width': beam_width, **scores,
                     **describe(texts, training_texts, unit)})
        print_row(rows[-1], with_header=len(rows) == 1)
        if args.json:
            write_results(args, beam_width, captions, images, texts, cider)
    if unit == 'characters':
        print('scores of characters, not words, and no METEOR')
    elif not with_java:
        print('There is no java, so words are split plainly and METEOR is left out: these scores '
              'are not those of other programs')
    if args.json:
        write_json(beside(args.json, 'scores'), rows)
    if args.html:
        write_html(args, captions, images, found, cider)


def check_model(args, model, captions, features):
    size = model.network.hyperparameters['feature_size']
    if features.array.shape[1] != size:
        raise InputError(f'{args.image}: features have size {features.array.shape[1]}, but '
                         f'{args.model[0]} was trained on features of size {size}')
    if model.vocabulary.unit != captions.vocabulary.unit:
        raise InputError(f'{args.sentence}: holds {captions.vocabulary.unit}, but '
                         f'{args.model[0]} was trained on {model.vocabulary.unit}')


def print_loss(model, first, captions, split, features):
    """Prints what the models think of the references, if they know the same words."""
    if first.vocabulary == captions.vocabulary:
        loss = -mean_log_prob(model, captions, captions.captions_of(split), features)
        print(f'{split}: loss {loss:.4f} nats a word, perplexity {numpy.exp(loss):.2f}')


def describe(texts, training_texts, unit):
    """Counts what scores do not show."""
    return {'distinct': len(set(texts)),
            'new': sum(text not in training_texts for text in texts) / len(texts),
            'words': sum(len(tokenize(text, unit)) for text in texts) / len(texts)}


def print_row(row, with_header):
    """Prints scores as the field does: out of 100, but for CIDEr."""
    forms = {'beam_width': '{:d}', 'distinct': '{:d}', 'new': '{:.1%}', 'words': '{:.1f}',
             'CIDEr': '{:.3f}'}
    if with_header:
        print(''.join(f'{"M" if name == "beam_width" else name:>9}' for name in row))
    print(''.join(f'{forms[name].format(value) if name in forms else f"{100 * value:.1f}":>9}'
                  for name, value in row.items()), flush=True)


def write_results(args, beam_width, captions, images, texts, cider):
    path = args.json if len(args.beam_width) == 1 else beside(args.json, f'beam{beam_width}')
    ids = numpy.where(captions.cocoid < 0, captions.imgid, captions.cocoid)[images].tolist()
    write_json(path, [{'image_id': image_id, 'caption': text, 'CIDEr': score}
                      for image_id, text, score in zip(ids, texts, cider)])


def write_html(args, captions, images, found, cider):
    references = captions.references_of(images)
    cards = [Card(captions.filename[image],
                  args.image_root and os.path.join(args.image_root, captions.filename[image]),
                  found[place], references[place], f'CIDEr {cider[place]:.2f}')
             for place, image in enumerate(images)]
    order = sorted(range(len(cards)), key=lambda place: -cider[place])
    write_page(args.html, f'{len(cards)} images of {args.split}, mean CIDEr '
                          f'{numpy.mean(cider):.3f}, beam width {args.beam_width[-1]}',
               (cards[place] for place in order))


def beside(path, name):
    stem, suffix = os.path.splitext(path)
    return f'{stem}_{name}{suffix}'


if __name__ == '__main__':
    run(main)
