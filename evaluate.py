"""Captions a split of a data set and prints BLEU, METEOR, ROUGE-L and CIDEr.

Each row has one beam width M, if the search has a beam. After the scores follow the number of
distinct captions, the share of new ones, which are not in the training set, and their mean number
of words.
"""

import warnings

import numpy

from lib.captioner import Captioner
from lib.captions.dataset import CaptionDataset
from lib.captions.readers import SPLITS
from lib.cli.parser import ArgumentParser, add_device_flags, add_seed_flag
from lib.cli.run import print_line, run_main
from lib.decoding.ensemble import Ensemble
from lib.decoding.flags import add_decoding_flags, add_models_flag, decoding_options
from lib.decoding.neighbors import NeighborIndex
from lib.device import select_device, set_seed
from lib.errors import InputError, InputWarning
from lib.evaluation.evaluator import Evaluator
from lib.evaluation.html_gallery import make_cards, write_gallery
from lib.evaluation.metrics import check_pycocoevalcap
from lib.evaluation.results_file import add_to_name, read_results, results_paths, write_results
from lib.evaluation.score_table import print_differences, print_loss, print_scores
from lib.features.flags import add_data_flags
from lib.features.image_paths import locate_images
from lib.features.table import FeatureTable
from lib.files.output import check_outputs, write_json


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flags(parser)
    add_models_flag(parser)
    add_data_flags(parser)
    parser.add_argument('--split', default='val', choices=SPLITS, help='images to caption')
    parser.add_argument(
        '--json',
        metavar='FILE',
        help="write the captions here, in COCO's results format, and the scores beside it; with "
        'several beam widths each gets its own file',
    )
    parser.add_argument(
        '--compare',
        metavar='FILE',
        help='captions of the same images, from --json of another evaluation: print the difference '
        'of the scores, its 95 %% interval, and the two-sided p of a paired bootstrap test',
    )
    parser.add_argument(
        '--html',
        metavar='FILE',
        help='write a page of the images, their captions and references here, best CIDEr first; '
        'with several beam widths, of the last one',
    )
    parser.add_argument(
        '--image-root',
        metavar='FOLDER',
        help='folder that contains the images for --html; without it the page shows none',
    )
    parser.add_argument(
        '--index-features',
        nargs='+',
        default=[],
        metavar='FILE',
        help="image features that --index was made of; unless given, the models'",
    )
    add_seed_flag(parser, '--search sample and --mbr-samples')
    add_decoding_flags(parser, several_beam_widths=True, without=['top'])
    args = parser.parse_args()
    if args.index_features and not args.index:
        raise InputError('--index-features: needs --index')
    if args.compare:
        check_pycocoevalcap(args.compare, option='compare')
    return args


def main():
    args = parse_args()
    # How to decode captions for each row of scores.
    decodings = [
        decoding_options(args, beam_width=beam_width, top=None if args.html else 1)
        for beam_width in args.beam_width or [None]
    ]
    json_paths = results_paths(args.json, [options.beam_width for options in decodings])
    device = select_device(args.gpu, args.tf32)
    dataset, ensemble, features, index_features = load(args, device)
    images = dataset.images_of(args.split)
    names = dataset.filename[images]
    image_ids = dataset.ids_of(images)
    paths = check_files(args, json_paths, names)
    index = load_index(args, dataset, index_features or features, device)
    captioner = Captioner(ensemble, index=index)
    evaluator = Evaluator(captioner, dataset, args.split, features, index_features)
    other_captions = read_results(args.compare, image_ids) if args.compare else None
    print_loss(args.split, evaluator.loss())
    rows = []
    remarks = {}  # each once, in their order
    for options, json_path in zip(decodings, json_paths):
        set_seed(args.seed)
        captions = evaluator.caption(options)
        texts = [best.text for best, *_ in captions]
        if json_path:  # already now, since scoring may fail
            write_results(json_path, image_ids, texts)
        scores = evaluator.score(texts)
        remarks |= dict.fromkeys(scores.remarks)
        rows.append(print_row(options, scores, rows))
        if args.compare:
            other_scores = evaluator.score(other_captions)
            remarks |= dict.fromkeys(other_scores.remarks)
            rows[-1]['differences'] = compare(args.compare, scores, other_scores)
        if json_path:
            write_results(json_path, image_ids, texts, scores.means.get('CIDEr'))
    for remark in remarks:
        print_line(remark)
    if args.json:
        write_json(add_to_name(args.json, 'scores'), rows)
    if args.html:
        title = f'{len(names)} images of {args.split}, beam width {options.beam_width}'
        cards = make_cards(names, paths, captions, evaluator.references, scores)
        write_gallery(args.html, title, cards)


def load(args, device):
    """Loads the models, the data set without images that lack features, and the features.

    Returns:
        tuple: Data set, models, their features, and those that the index is searched by, None if
        they are the same.
    """
    dataset = CaptionDataset.load(args.captions)
    images = dataset.images_of(args.split)
    check_captions(args, dataset)
    ensemble = Ensemble.load(args.model, device)
    check_models(args, ensemble, dataset)
    features = FeatureTable.open(args.features, dataset, images, args.combine)
    ensemble.models[0].check_features(features)
    features.to_device(device)
    index_features = None
    left_out = features.left_out
    if args.index_features:
        index_features = FeatureTable.open(args.index_features, dataset, images, args.combine)
        index_features.to_device(device)
        left_out = numpy.union1d(left_out, index_features.left_out)
    return dataset.without(left_out), ensemble, features, index_features


def load_index(args, dataset, features, device):
    """Loads the index of captions and checks that it fits; returns None if there is none."""
    if not args.index:
        return None
    index = NeighborIndex.load(args.index, device)
    index.check_no_overlap(dataset, dataset.images_of(args.split))
    index.check_features(features, dataset)
    return index


def print_row(options, scores, rows):
    """Prints a row of scores after others, and returns its entry in the JSON file."""
    beam_width = options.beam_width if options.has_beam else None
    intervals = scores.intervals()
    row = {'beam_width': beam_width, **scores.values, 'intervals': intervals}
    with_header = not rows or rows[-1].keys() - {'differences'} != row.keys()
    print_scores(beam_width, scores.values, intervals, with_header)
    return row


def compare(path, scores, other_scores):
    """Prints how scores differ from those of a file, and returns their entry in the JSON file."""
    differences = scores.compare(other_scores)
    print_differences(path, differences)
    return {name: difference._asdict() for name, difference in differences.items()}


def check_captions(args, dataset):
    """Checks that the split has images, and captions if flags need them."""
    if not dataset.images_of(args.split).size:
        raise InputError(f'{args.captions}: has no images in the split "{args.split}"')
    if dataset.captions_of(args.split).size:
        return
    if args.compare or not (args.json or args.html):
        raise InputError(
            f'{args.captions}: has no captions in the split "{args.split}" to compare with; '
            '--json writes those of the model'
        )


def check_files(args, json_paths, names):
    """Checks the files to write before the work, and notes images that the page cannot show.

    Returns:
        list of str: The paths of the images that the page shows, None for the others.
    """
    outputs = [args.html, *json_paths]
    if args.json:
        outputs.append(add_to_name(args.json, 'scores'))
    inputs = [*args.model, args.captions, *args.features, args.index, *args.index_features]
    paths = [None] * len(names)
    if args.html and args.image_root:
        paths = locate_images(args.image_root, names)
        n_missing = paths.count(None)
        if n_missing:
            note = f'{n_missing} of {len(paths)} images are not in {args.image_root}'
            warnings.warn(f'{note}; the page does not show them', InputWarning, stacklevel=1)
    check_outputs([*filter(None, outputs)], [*filter(None, [*inputs, args.compare, *paths])])
    return paths


def check_models(args, ensemble, dataset):
    """Checks the tokenizer, and notes models that may know the captions of these images."""
    if ensemble.vocabulary.tokenizer != dataset.vocabulary.tokenizer:
        raise InputError(
            f'{args.captions}: is tokenized into {dataset.vocabulary.tokenizer}, but '
            f'{args.model[0]} was trained on {ensemble.vocabulary.tokenizer}'
        )
    fingerprint = dataset.fingerprint()
    for model in ensemble.models:
        if model.run is not None and model.run['data']['captions'] != fingerprint:
            note = f'{model.path}: was trained on other captions than {args.captions}'
            warnings.warn(f'{note}, perhaps those of these images', InputWarning, stacklevel=1)


if __name__ == '__main__':
    run_main(main)
