"""Captions photographs with a trained model and the network its features come from."""

import os
import sys

from lib.command_line import (
    ArgumentParser,
    add_device_flag,
    positive_int,
    run,
    seed,
    seed_everything,
    select_device,
)
from lib.ensemble import load_models
from lib.errors import InputError
from lib.feature_flags import add_feature_flags, make_extractor
from lib.files import write_json
from lib.html_page import Card, write_page
from lib.photographs import find_photographs, prepared_photographs
from lib.search_flags import add_search_flags, make_search

import tqdm

# Enough to make beam search efficient; few enough that the first captions come soon.
PHOTOGRAPHS_AT_ONCE = 16


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flag(parser)
    parser.add_argument('photographs', nargs='*', metavar='PHOTO_OR_FOLDER',
                        help='what to caption: files, and folders of files')
    parser.add_argument('-l', '--list', action='append', default=[], metavar='FILE',
                        help='text file with the path of a photograph or folder on each line; '
                             'may be given more than once')
    parser.add_argument('-m', '--model', required=True, nargs='+', metavar='FILE',
                        help='trained models, such as best.h5; several caption together')
    parser.add_argument('-i', '--image', required=True, metavar='FILE',
                        help='caffemodel that the features of the model came from')
    parser.add_argument('--json', metavar='FILE',
                        help='also write the captions and their log-probabilities here')
    parser.add_argument('--html', metavar='FILE',
                        help='also write a page of the photographs and their captions here')
    add_feature_flags(parser, 'What is not given is as the features of the model were made, or, '
                              "if the model does not know, as Karpathy's VGG19 features were: "
                              'fc7, 224 pixels, mean 103.939 116.779 123.68, warp.')
    add_search_flags(parser)
    parser.add_argument('--top', type=positive_int, default=5, metavar='N',
                        help='captions per photograph')
    parser.add_argument('--seed', type=seed, default=0, metavar='N',
                        help='for --sample and --consensus')
    args = parser.parse_args()
    if args.top > args.beam_width and not args.sample:
        raise InputError(f'--top {args.top} is more than --beam-width {args.beam_width}')
    return args


def main():
    args = parse_args()
    search = make_search(args)
    paths = find_photographs(args.photographs, args.list)
    device = select_device(args.gpu)
    seed_everything(args.seed, device)
    model, first = load_models(args.model, device)
    extractor, _ = make_extractor(args, device, first.feature_source)

    results = []
    with tqdm.tqdm(total=len(paths), unit='photo', disable=None, leave=False) as progress:
        for positions, pixels in prepared_photographs(paths, extractor.prepare,
                                                      PHOTOGRAPHS_AT_ONCE):
            if pixels:
                features = extract(args, extractor, first, pixels)
                results += show(first.vocabulary, [paths[each] for each in positions],
                                search(model, features, args.beam_width, args.top))
            progress.update(len(positions))
    if args.json:
        write_json(args.json, results)
    if args.html:
        write_page(args.html, f'{len(results)} photographs and their captions', (
            Card(os.path.basename(result['photograph']), result['photograph'],
                 [(each['caption'], each['log_prob']) for each in result['captions']])
            for result in results))
    return 0 if len(results) == len(paths) else 1


def extract(args, extractor, model, pixels):
    """Returns the features of prepared photographs."""
    features = extractor(pixels)
    size = model.network.hyperparameters['feature_size']
    if features.shape[1] != size:
        raise InputError(f'{args.image}: its features have size {features.shape[1]}, but '
                         f'{args.model[0]} was trained on features of size {size}; see --layer')
    return features


def show(vocabulary, paths, sentences_of_photographs):
    """Prints the captions of photographs and returns them as JSON objects."""
    results = []
    for path, sentences in zip(paths, sentences_of_photographs):
        captions = [{'caption': vocabulary.decode(sentence.tokens),
                     'log_prob': sentence.log_prob} for sentence in sentences]
        tqdm.tqdm.write('\n'.join([f'# {path}', *(each['caption'] for each in captions)]))
        results.append({'photograph': path, 'captions': captions})
    sys.stdout.flush()
    return results


if __name__ == '__main__':
    run(main)
