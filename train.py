"""Trains the caption generator of Show and Tell on captions.h5 and image features.

@FILE reads flags from a file, such as @recipes/flickr8k.args.
"""

import lib  # noqa: F401  first, since it patches Chainer

# isort: split
import os
import sys
import warnings

import chainer
import numpy
from chainer import training

from lib.captions.dataset import CaptionDataset
from lib.captions.packing import make_converter
from lib.cli.command_line import (
    ArgumentParser,
    add_communicator_flag,
    add_device_flags,
    add_seed_flag,
    print_line,
    run_main,
)
from lib.device import select_device, set_seed
from lib.errors import InputError, InputWarning
from lib.evaluation.metrics import check_pycocoevalcap
from lib.features.table import FeatureTable
from lib.files.fingerprint import fingerprint
from lib.processes import connect_processes
from lib.trained_model import TrainedModel
from lib.training import flags
from lib.training.best_epoch import CRITERIA, SaveBest, ScoreCaptions, StopTrigger, best_index
from lib.training.divergence import CheckLoss
from lib.training.epoch_log import EpochLog, add_perplexity
from lib.training.interruption import Interruption
from lib.training.memory_needed import check_training_memory
from lib.training.output_folder import (
    SNAPSHOT,
    check_folder,
    epoch_file,
    lock_folder,
    remove_leftover_results,
)
from lib.training.parallel import ParallelEvaluator, make_updater
from lib.training.reports import PlotLog, PrintCaptions, PrintEpoch, ProgressBar
from lib.training.reward import CiderReward, RewardLoss
from lib.training.run_record import record_run
from lib.training.schedules import ScheduledSampling
from lib.training.snapshot import RandomState, Snapshot, load_snapshot
from models.show_and_tell import ShowAndTell

N_REPORTED_IMAGES = 4


def parse_args():
    parser = ArgumentParser(__doc__, fromfile_prefix_chars='@')
    add_device_flags(parser)
    add_communicator_flag(parser)
    add_seed_flag(parser, 'weights, the order of captions and dropout')
    flags.add_file_flags(parser)
    flags.add_network_flags(parser)
    flags.add_optimization_flags(parser)
    flags.add_selection_flags(parser)
    args = parser.parse_args()
    if args.standardize is None:
        args.standardize = args.model is None
    flags.complete_flags(args)
    return args


def main():
    args = parse_args()
    processes = connect_processes(args.communicator)
    if args.reward and args.model is None and not args.resume:
        warnings.warn(
            '--reward without --model starts from random weights; train without --reward first, '
            'then give that model',
            InputWarning,
            stacklevel=1,
        )
    device = select_device(processes.local_gpu(args.gpu), args.tf32)
    if not processes.is_main:
        return train(args, device, processes)
    check_folder(args.output, filter(None, (args.captions, *args.features, args.model)))
    with lock_folder(args.output):
        return train(args, device, processes)


def train(args, device, processes):
    snapshot = os.path.join(args.output, SNAPSHOT)
    check_snapshot(args, snapshot)
    if args.select_by == 'CIDEr':
        check_pycocoevalcap('CIDEr', option='select_by')
    dataset = CaptionDataset.load(args.captions)
    for split in 'train', 'val':
        if not dataset.images_of(split).size:
            raise InputError(f'{args.captions}: has no captions in the split "{split}"')
    images = numpy.arange(len(dataset.imgid))
    features = FeatureTable.open(args.features, dataset, images, args.combine)

    set_seed(args.seed)
    model = make_model(args, dataset, features, device, processes)
    model.network.to_device(device)
    data = {
        'captions': dataset.fingerprint(),
        'features': processes.compute_on_main(fingerprint, features),
    }
    if args.model is not None:
        data['model'] = model.fingerprint()
    model.run = {**record_run(vars(args), data, device), 'processes': processes.size}
    settings = {
        'model': None,
        **data,
        **flags.fixed_settings(args),
        'batch_size': args.batch_size * processes.size,
        **model.network.hyperparameters,
        'training_captions': len(dataset.captions_of('train')),
    }
    features.to_device(device)
    if processes.is_main:
        remove_leftover_results(args.output)
    with Interruption(processes) as interruption:
        trainer = make_trainer(args, dataset, features, model, interruption, processes)
        trainer.extend(RandomState())
        trainer.extend(Snapshot(settings, args.snapshot_every, processes))
        if args.resume:
            load_snapshot(snapshot, trainer, settings)
        # A loss that overflows ends the training with an error message of its own.
        with numpy.errstate(over='ignore', invalid='ignore'):
            trainer.run(show_loop_exception_msg=False)
        if not trainer.stop_trigger.is_complete(trainer):
            save_interrupted(trainer, snapshot, processes)
            return interruption.exit_code
    print_best(args, trainer)
    return 0


def check_snapshot(args, snapshot):
    if not args.resume and os.path.exists(snapshot):
        raise InputError(
            f'--output {args.output}: already contains a training run; continue it with '
            '--resume or choose another folder'
        )
    if args.resume and not os.path.exists(snapshot):
        raise InputError(f'--resume: there is no {snapshot}')


def make_model(args, dataset, features, device, processes):
    """Returns a new model, or the one to start from, with the settings of the flags."""
    feature_size = features.shape[1]
    if args.model is None:
        sizes = {
            'feature_size': feature_size,
            'vocabulary_size': len(dataset.vocabulary),
            'embed_size': args.embed or 512,
            'hidden_size': args.hidden or 512,
            'n_layers': args.layers or 1,
        }
        if device.xp is numpy:  # CuPy raises an error of its own, and nothing else is harmed
            lengths = dataset.lengths[dataset.captions_of('train')]
            check_training_memory(
                sizes, args.optimizer, args.batch_size, lengths, processes.local_size
            )
        network = ShowAndTell(**sizes, dropout=args.dropout)
        model = TrainedModel(network, dataset.vocabulary, features.source)
    else:
        model = load_model(args, dataset)
        model.check_feature_size(feature_size, features.path)
        network = model.network
        network.dropout = args.dropout
        model.feature_source = features.source or model.feature_source
    model.never_last = dataset.never_last()
    network.loss_reduction, network.label_smoothing = args.loss_reduction, args.label_smoothing
    if args.standardize:
        train_imgids = dataset.imgid[dataset.images_of('train')]
        mean, inverse_std = processes.compute_on_main(features.mean_and_inverse_std, train_imgids)
        network.feature_mean[:], network.feature_scale[:] = mean, inverse_std
    return model


def load_model(args, dataset):
    """Reads the model to start from and checks that it fits the data and the flags."""
    model = TrainedModel.load(args.model)
    if model.vocabulary != dataset.vocabulary:
        raise InputError(f'{args.model}: has another vocabulary than {args.captions}')
    sizes = model.network.hyperparameters
    for flag, value, size in (
        ('--hidden', args.hidden, sizes['hidden_size']),
        ('--embed', args.embed, sizes['embed_size']),
        ('--layers', args.layers, sizes['n_layers']),
    ):
        if value not in (None, size):
            raise InputError(f'{flag} {value}: differs from {args.model}, which has {size}')
    return model


def make_trainer(args, dataset, features, model, interruption, processes):
    """Connects data, optimizer and network, and adds what happens during training."""
    device = model.network.device
    loss = None
    converter = make_converter(dataset, features)
    training_converter = converter
    if args.reward:
        training_converter = make_converter(dataset, features, with_images=True)
        loss = RewardLoss(
            model.network, CiderReward(dataset), args.reward_weight, args.reward_samples
        )
    train, val = dataset.captions_of('train'), dataset.captions_of('val')
    if len(train) < processes.size:
        raise InputError(f'{args.captions}: has too few captions for {processes.size} processes')
    # With more, Chainer's iterator would go through the captions several times in an iteration.
    batch_size = min(args.batch_size * processes.size, len(train))
    optimizer = flags.optimizer_from_flags(args, model.network, processes)
    options = {'converter': training_converter, 'device': device, 'loss_func': loss}
    updater = make_updater(train, batch_size, optimizer, processes, dataset, args.seed, **options)
    stop_trigger = StopTrigger(args.epoch, args.patience, args.select_by, interruption)
    trainer = training.Trainer(updater, stop_trigger, args.output)

    val = processes.share_of(val)
    val_iterator = chainer.iterators.SerialIterator(
        val, args.batch_size, repeat=False, shuffle=False
    )
    n_targets = int((dataset.lengths[val] + 1).sum())
    trainer.extend(
        ParallelEvaluator(
            processes, n_targets, val_iterator, model.network, converter=converter, device=device
        ),
        name='validation',
    )
    trainer.extend(flags.learning_rate_from_flags(args))
    if args.scheduled_sampling:
        trainer.extend(ScheduledSampling(model.network, args.scheduled_sampling, args.epoch))
    trainer.extend(CheckLoss(dataset))
    trainer.extend(EpochLog(add_perplexity, model.run, CRITERIA[args.select_by][0], processes))
    if args.select_by == 'CIDEr':
        trainer.extend(ScoreCaptions(model, dataset, features, processes))
    if not processes.is_main:
        return trainer
    trainer.extend(ProgressBar(iterations_per_epoch=-(-len(train) // batch_size)))
    add_reports(trainer, args.select_by, dataset, features, model)
    trainer.extend(SaveBest(model, args.select_by))
    trainer.extend(
        lambda trainer: model.save(os.path.join(trainer.out, epoch_file(trainer.updater.epoch))),
        name='save_epoch',
        trigger=(1, 'epoch'),
    )
    return trainer


def add_reports(trainer, criterion, dataset, features, model):
    images = dataset.images_of('val')[:N_REPORTED_IMAGES]
    trainer.extend(PrintEpoch())
    trainer.extend(PrintCaptions(model, dataset.filename[images], features[dataset.imgid[images]]))
    trainer.extend(PlotLog('loss', 'loss (nats per token)'))
    trainer.extend(PlotLog('accuracy', 'share of tokens predicted correctly'))
    if criterion == 'CIDEr':
        trainer.extend(PlotLog('CIDEr', 'CIDEr of captions'))


def save_interrupted(trainer, snapshot, processes):
    """Saves what has been trained since the last snapshot."""
    updater = trainer.updater
    if updater.iteration:
        trainer.get_extension('Snapshot')(trainer)
        # An exit code ends the other processes, so none leaves before the snapshot is complete.
        processes.wait_for_all()
        if not processes.is_main:
            return
        print_line(
            f'stopped after iteration {updater.iteration}, {updater.epoch_detail:.2f} epochs: '
            f'saved {snapshot}; the same command with --resume continues',
            file=sys.stderr,
        )


def print_best(args, trainer):
    log = trainer.get_extension('LogReport').log
    best = log[best_index(log, args.select_by)]
    key, _ = CRITERIA[args.select_by]
    print_line(
        f'best validation {args.select_by} {best[key]:.4f} after epoch {best["epoch"]}: '
        f'{os.path.join(args.output, "best.h5")}'
    )


if __name__ == '__main__':
    run_main(main)
