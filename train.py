"""Trains the caption generator of Show and Tell on captions.h5 and image features."""

import os

from lib.best_epoch import CRITERIA, SaveBest, ScoreCaptions, StopTrigger, best_index
from lib.caption_file import Captions
from lib.command_line import (
    ArgumentParser,
    add_device_flag,
    non_negative_int,
    positive_int,
    run,
    seed,
    seed_everything,
    select_device,
    share,
)
from lib.errors import InputError
from lib.features import check_features, load_features, mean_and_scale
from lib.minibatch import make_converter
from lib.optimization import (
    FIXED_FLAGS,
    LearningRate,
    ScheduledSampling,
    add_optimization_flags,
    make_optimizer,
)
from lib.snapshot import FILE_NAME, RandomState, Snapshot, load_snapshot
from lib.trained_model import TrainedModel
from lib.training_report import (
    PlotLog,
    PrintCaptions,
    PrintEpoch,
    ProgressBar,
    add_perplexity,
)
from models.show_and_tell import ShowAndTell

import chainer
import numpy
from chainer import training
from chainer.training import extensions

SHOWN_IMAGES = 4


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flag(parser)
    parser.add_argument('--tf32', action='store_true',
                        help='on a GPU, let matrix products round their factors to TensorFloat-32')
    data = parser.add_argument_group('data')
    data.add_argument('-s', '--sentence', default='captions.h5', metavar='FILE',
                      help='captions, from preprocess_vocab.py')
    data.add_argument('-i', '--image', default='vgg_feats.mat', metavar='FILE',
                      help='image features, from extract_features.py, or a MATLAB file with '
                           'feats, D x N')
    data.add_argument('-o', '--output', default='result', metavar='FOLDER',
                      help='where models, log and plots go')
    data.add_argument('-m', '--model', metavar='FILE',
                      help='trained model to start from; it then sets the sizes')
    data.add_argument('--resume', action='store_true',
                      help=f'go on from {FILE_NAME} in the output folder')
    network = parser.add_argument_group('network')
    network.add_argument('--hidden', type=positive_int, metavar='N',
                         help="size of the LSTM; if not given, 512 or the model's (-m)")
    network.add_argument('--embed', type=positive_int, metavar='N',
                         help="size of the word embedding; if not given, 512 or the model's (-m)")
    network.add_argument('--layers', type=positive_int, metavar='N',
                         help="LSTMs on top of each other; if not given, 1 or the model's (-m)")
    network.add_argument('--dropout', type=share, default=0.5, metavar='RATIO',
                         help='share of values dropped; 0 is no dropout')
    network.add_argument('--standardize', action='store_true',
                         help='bring features to mean 0 and deviation 1 over the training '
                              'images; stored in the model')
    add_optimization_flags(parser)
    choice = parser.add_argument_group('the best epoch')
    choice.add_argument('--best-by', choices=CRITERIA, default='loss',
                        help='which epoch becomes best.h5: the one with the lowest validation '
                             'loss, or with the highest CIDEr of captions of the validation images')
    choice.add_argument('--patience', type=non_negative_int, default=0, metavar='N',
                        help='stop after N epochs without a better one; 0 never does')
    parser.add_argument('--seed', type=seed, default=0, metavar='N',
                        help='of weights, order of captions and dropout')
    return parser.parse_args()


def main():
    args = parse_args()
    device = select_device(args.gpu, args.tf32)
    if not args.resume and os.path.exists(os.path.join(args.output, FILE_NAME)):
        raise InputError(f'--output {args.output}: there is a training in this folder; go on '
                         'with --resume or choose another folder')
    captions = Captions.load(args.sentence)
    for split in 'train', 'val':
        if not captions.images_of(split).size:
            raise InputError(f'{args.sentence}: has no captions in the split "{split}"')
    features = load_features(args.image)
    check_features(features, captions, args.image)

    seed_everything(args.seed, device)
    model = make_model(args, captions, features)
    model.network.to_device(device)
    settings = fixed_settings(args, captions, model)
    # On a GPU the features live there alone.
    features = device.send(features.array)
    trainer = make_trainer(args, captions, features, model, device, settings)
    if args.resume:
        load_snapshot(os.path.join(args.output, FILE_NAME), trainer, settings)
    os.makedirs(args.output, exist_ok=True)    # now, not after the first epoch
    # A loss that overflows ends the training with a clear message, so NumPy need not warn.
    with numpy.errstate(over='ignore', invalid='ignore'):
        trainer.run(show_loop_exception_msg=False)
    print_best(args, trainer)


def make_model(args, captions, features):
    feature_size = features.array.shape[1]
    if args.model is None:
        model = TrainedModel(
            ShowAndTell(feature_size, len(captions.vocabulary), args.embed or 512,
                        args.hidden or 512, args.dropout, args.layers or 1),
            captions.vocabulary, features.source)
    else:
        model = TrainedModel.load(args.model)
        check_model(args, model, captions, feature_size)
        model.network.dropout = args.dropout
        model.feature_source = features.source or model.feature_source
    model.network.loss, model.network.label_smoothing = args.loss, args.label_smoothing
    if args.standardize:
        rows = captions.imgid[captions.images_of('train')]
        model.network.feature_mean[:], model.network.feature_scale[:] = mean_and_scale(
            features.array, rows)
    return model


def check_model(args, model, captions, feature_size):
    sizes = model.network.hyperparameters
    if model.vocabulary != captions.vocabulary:
        raise InputError(f'{args.model}: was trained with other words than those of '
                         f'{args.sentence}')
    if sizes['feature_size'] != feature_size:
        raise InputError(f'{args.model}: was trained on features of size '
                         f'{sizes["feature_size"]}, those of {args.image} have {feature_size}')
    for flag, asked, size in (('--hidden', args.hidden, sizes['hidden_size']),
                              ('--embed', args.embed, sizes['embed_size']),
                              ('--layers', args.layers, sizes['n_layers'])):
        if asked not in (None, size):
            raise InputError(f'{flag} {asked}: the model {args.model} has {size}')


def fixed_settings(args, captions, model):
    """Returns what may not change when the training is resumed."""
    flags = (*FIXED_FLAGS, 'best_by', 'standardize', 'seed')
    return {**{name: getattr(args, name) for name in flags}, **model.network.hyperparameters,
            # What ends with the last epoch ends where it was to be.
            'last_epoch': (args.epoch if args.lr_schedule == 'cosine' or args.scheduled_sampling
                           else None),
            'training_captions': len(captions.captions_of('train'))}


def make_trainer(args, captions, features, model, device, settings):
    """Connects data, optimiser and network, and adds what happens after each epoch."""
    converter = make_converter(captions, features)
    train, val = captions.captions_of('train'), captions.captions_of('val')
    updater = training.updaters.StandardUpdater(
        chainer.iterators.SerialIterator(train, args.batch_size),
        make_optimizer(args, model.network), converter=converter, device=device)
    trainer = training.Trainer(
        updater, StopTrigger(args.epoch, args.patience, args.best_by), args.output)

    trainer.extend(extensions.Evaluator(
        chainer.iterators.SerialIterator(val, args.batch_size, repeat=False, shuffle=False),
        model.network, converter=converter, device=device))
    trainer.extend(LearningRate(args))
    if args.scheduled_sampling:
        trainer.extend(ScheduledSampling(model.network, args.scheduled_sampling, args.epoch))
    trainer.extend(ProgressBar(iterations_per_epoch=-(-len(train) // args.batch_size)))
    add_reports(trainer, args.best_by, captions, features, model, device)
    add_files(trainer, args.best_by, model, settings)
    return trainer


def add_reports(trainer, criterion, captions, features, model, device):
    shown = captions.images_of('val')[:SHOWN_IMAGES]
    trainer.extend(extensions.LogReport(postprocess=add_perplexity))
    trainer.extend(PrintEpoch())
    trainer.extend(PrintCaptions(model, captions.filename[shown],
                                 features[device.send(captions.imgid[shown])]))
    trainer.extend(PlotLog('loss', 'loss (nats a word)'))
    trainer.extend(PlotLog('accuracy', 'share of words predicted right'))
    if criterion == 'CIDEr':
        trainer.extend(ScoreCaptions(model, captions, features))
        trainer.extend(PlotLog('CIDEr', 'CIDEr of captions'))


def add_files(trainer, criterion, model, settings):
    """Saves the best model, that of each epoch, and what a resumed training needs."""
    trainer.extend(SaveBest(model, criterion))
    trainer.extend(lambda _: model.save(os.path.join(
        trainer.out, f'epoch_{trainer.updater.epoch:03}.h5')), name='save_epoch',
        trigger=(1, 'epoch'))
    trainer.extend(RandomState())
    trainer.extend(Snapshot(settings))


def print_best(args, trainer):
    log = trainer.get_extension('LogReport').log
    best = log[best_index(log, args.best_by)]
    key, _ = CRITERIA[args.best_by]
    print(f'best validation {args.best_by} {best[key]:.4f} after epoch {best["epoch"]}: '
          f'{os.path.join(args.output, "best.h5")}')


if __name__ == '__main__':
    run(main)
