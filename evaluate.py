"""Captions a split of a data set and prints BLEU, METEOR, ROUGE-L and CIDEr.

Each row has one beam width M. After the scores follow the number of distinct captions, the
share of new ones, which are not in the training set, their mean number of words, and the shares
of captions that end as none does in the training set, and that say something twice in a row.
"""

import os
import warnings

import numpy

from lib.captions.captioned_image import SPLITS
from lib.captions.dataset import CaptionDataset
from lib.cli.command_line import (
    ArgumentParser,
    add_communicator_flag,
    add_device_flags,
    add_seed_flag,
    run_main,
)
from lib.decoding.ensemble import Ensemble, average_weights
from lib.decoding.feature_captioner import FeatureCaptioner
from lib.decoding.flags import add_decoding_flags, add_models_flag, decoding_options
from lib.decoding.neighbors import NeighborIndex
from lib.device import select_device, set_seed
from lib.errors import InputError, InputWarning
from lib.evaluation.bootstrap import bootstrap_intervals, compare
from lib.evaluation.evaluator import Evaluator
from lib.evaluation.html_gallery import Card, write_gallery
from lib.evaluation.metrics import check_pycocoevalcap
from lib.evaluation.results_file import read_results, results_paths, scores_path, write_results
from lib.evaluation.score_table import print_differences, print_remarks, print_scores
from lib.features.flags import add_data_flags
from lib.features.table import FeatureTable
from lib.files.output import join_below, replace_together, write_json
from lib.files.output_checks import check_not_overwritten, check_outputs
from lib.processes import connect_processes
from lib.training.run_record import captions_of

# Captions of each image on the page of --html.
CAPTIONS_PER_CARD = 5


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flags(parser)
    add_communicator_flag(parser)
    add_models_flag(parser)
    parser.add_argument(
        '--average-weights',
        '--average',
        metavar='FILE',
        help="average the models' weights instead of their probabilities, and write that model "
        'here',
    )
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
        metavar='FILE',
        help="image features that --index was made of; unless given, the models'",
    )
    add_seed_flag(parser, '--sample and --mbr-samples')
    add_decoding_flags(parser, several_beam_widths=True)
    return parser.parse_args()


def main():
    args = parse_args()
    if args.index_features and not args.index:
        raise InputError('--index-features: needs --index')
    if args.compare:
        check_pycocoevalcap(args.compare, option='compare')
    processes = connect_processes(args.communicator)
    if processes.is_main:
        inputs = [*args.model, args.captions, *args.features, args.index]
        inputs += [*(args.index_features or []), args.compare]
        check_outputs(outputs_of(args), [path for path in inputs if path])
    all_options = [options_for(args, beam_width) for beam_width in args.beam_width]
    device = select_device(processes.local_gpu(args.gpu), args.tf32)
    ensemble = load_ensemble(args, device)
    dataset = CaptionDataset.load(args.captions)
    if not dataset.images_of(args.split).size:
        raise InputError(f'{args.captions}: has no captions in the split "{args.split}"')
    check_tokenizer(args, ensemble, dataset)
    check_captions(args, ensemble, dataset)
    if args.html and args.image_root:
        check_images(args, dataset)
    images = dataset.images_of(args.split)
    features = FeatureTable.open(args.features, dataset, images, args.combine)
    ensemble.check_feature_size(features.shape[1], features.path)

    features.to_device(device)
    index, index_features = load_index(args, dataset, features, device)
    captioner = FeatureCaptioner(ensemble, index)
    evaluator = Evaluator(captioner, dataset, args.split, features, processes, index_features)
    print_loss(args.split, evaluator)
    with replace_together():
        if args.average_weights and processes.is_main:
            ensemble.models[0].save(args.average_weights)
        evaluate(args, all_options, dataset, evaluator, processes.rank)


def evaluate(args, all_options, dataset, evaluator, rank):
    """Prints a row of scores for each beam width, and writes what the flags ask for."""
    image_ids, rows, other = dataset.ids_of(evaluator.images), [], None
    paths = results_paths(args.json, args.beam_width) if args.json else [None] * len(all_options)
    if args.compare and not rank:
        other = evaluator.score(read_results(args.compare, image_ids))
    for options, path in zip(all_options, paths):
        set_seed(args.seed, rank)
        evaluation = evaluator.evaluate(options)
        if evaluation is None:  # only the main process has one
            continue
        scores = {'beam_width': options.beam_width, **evaluation.scores}
        intervals = bootstrap_intervals(evaluation.resampled)
        print_scores(scores, intervals, with_header=not rows)
        rows.append({**scores, 'intervals': intervals})
        if other:
            differences = compare(evaluation.scores, evaluation.resampled, *other)
            print_differences(args.compare, differences)
            rows[-1]['differences'] = {
                name: difference._asdict() for name, difference in differences.items()
            }
        if path:
            texts = [best.text for best, *_ in evaluation.captions]
            write_results(path, image_ids, texts, evaluation.cider)
    if not rows:
        return
    print_remarks(rows[-1], dataset.vocabulary.tokenizer)
    if args.json and scores_path(args.json):
        write_json(scores_path(args.json), rows)
    if args.html:
        write_html(args, dataset, evaluator, evaluation)


def outputs_of(args):
    """Returns the paths of all files to write."""
    paths = [args.html, args.average_weights]
    if args.json:
        paths += [*results_paths(args.json, args.beam_width), scores_path(args.json)]
    return [path for path in paths if path]


def check_images(args, dataset):
    """Checks the images for the page."""
    if not os.path.isdir(args.image_root):
        raise InputError(f'--image-root {args.image_root}: no such folder')
    names = dataset.filename[dataset.images_of(args.split)]
    paths = [join_below(args.image_root, name) for name in names]
    check_not_overwritten(paths, outputs_of(args))
    n_missing = sum(not os.path.exists(path) for path in paths)
    if n_missing:
        warnings.warn(
            f'{n_missing} of {len(paths)} images are not in {args.image_root}; the page does not '
            'show them',
            InputWarning,
            stacklevel=1,
        )


def options_for(args, beam_width):
    """Returns the decoding options for a row of scores."""
    top = min(beam_width, CAPTIONS_PER_CARD if args.html else 1)
    return decoding_options(args, beam_width=beam_width, top=top)


def load_ensemble(args, device):
    """Returns the ensemble of the models, or one model of their averaged weights."""
    if not args.average_weights:
        return Ensemble.load(args.model, device)
    model = average_weights(args.model)
    model.network.to_device(device)
    return Ensemble([model])


def load_index(args, dataset, features, device):
    """Returns the index for --mbr-neighbors, and the features to search it by, if others."""
    if not args.index:
        return None, None
    index, images = NeighborIndex.load(args.index, device), dataset.images_of(args.split)
    index.check_no_overlap(dataset, images)
    if not args.index_features:
        try:
            index.check_features(features, dataset)
        except InputError as error:
            if error.option == 'index':
                error.message += '; pass the features it was made of with --index-features'
            raise
        return index, None
    features = FeatureTable.open(args.index_features, dataset, images, args.combine)
    features.to_device(device)
    index.check_features(features, dataset)
    return index, features


def check_tokenizer(args, ensemble, dataset):
    if ensemble.vocabulary.tokenizer != dataset.vocabulary.tokenizer:
        raise InputError(
            f'{args.captions}: is tokenized into {dataset.vocabulary.tokenizer}, but '
            f'{args.model[0]} was trained on {ensemble.vocabulary.tokenizer}'
        )


def check_captions(args, ensemble, dataset):
    """Notes models that may have been trained on the images to evaluate, in another split."""
    fingerprint = dataset.fingerprint()
    for model in ensemble.models:
        if captions_of(model.run) not in (None, fingerprint):
            warnings.warn(
                f'{model.path}: was trained on other captions than {args.captions}, which may '
                'include those of the images to evaluate',
                InputWarning,
                stacklevel=1,
            )


def print_loss(split, evaluator):
    # The numbers of a model with absurd weights become infinite.
    with numpy.errstate(over='ignore', invalid='ignore'):
        loss = evaluator.loss()
        if loss is not None:
            if not numpy.isfinite(loss):
                raise InputError(
                    f'the loss is {loss}: the weights of the models, or the features, are too large'
                )
            perplexity = numpy.exp(loss)
            print(f'{split}: loss {loss:.4f} nats per token, perplexity {perplexity:.2f}')


def write_html(args, dataset, evaluator, evaluation):
    cards, cider = [], evaluation.cider
    order = range(len(evaluator.images)) if cider is None else numpy.argsort(-cider, kind='stable')
    for index in order:
        name = dataset.filename[evaluator.images[index]]
        path = join_below(args.image_root, name) if args.image_root else None
        score = '' if cider is None else f'CIDEr {cider[index]:.2f}'
        cards.append(
            Card(name, path, evaluation.captions[index], evaluator.references[index], score)
        )
    mean = '' if cider is None else f'mean CIDEr {evaluation.scores["CIDEr"]:.3f}, '
    title = f'{len(cards)} images of {args.split}, {mean}beam width {args.beam_width[-1]}'
    write_gallery(args.html, title, cards)


if __name__ == '__main__':
    run_main(main)
