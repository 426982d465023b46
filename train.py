"""Trains the caption generator of Show and Tell on captions.h5 and image features.

@FILE reads flags from a file, such as @recipes/flickr8k.args.
"""

import lib  # noqa: F401  first, since it patches Chainer

# isort: split
import contextlib
import os
import warnings

import chainer
import numpy
from chainer import training

from lib.captions.batch import make_converter
from lib.captions.dataset import CaptionDataset
from lib.cli.run import run_main
from lib.device import select_device, set_seed
from lib.errors import InputError, InputWarning
from lib.features.table import FeatureTable
from lib.files.fingerprint import fingerprint
from lib.processes import connect_processes
from lib.trained_model import TrainedModel, record_run
from lib.training import flags, reports
from lib.training.best_epoch import SaveModel, ScoreCaptions
from lib.training.epoch_log import EpochLog, TokenMeanEvaluator
from lib.training.optimizers import OPTIMIZERS, check_training_memory, make_optimizer
from lib.training.output_folder import SNAPSHOT, locked
from lib.training.reward import CiderReward, RewardLoss
from lib.training.schedules import LearningRate, LearningRateSchedule, ScheduledSampling
from lib.training.snapshot import (
    RandomState,
    SeedIterations,
    Snapshot,
    load_snapshot,
    save_interrupted,
)
from lib.training.stopping import Interruption, StopIfDiverged, StopTrigger
from models import NETWORKS

N_REPORTED_IMAGES = 4


def main():
    args = flags.parse_args(__doc__)
    processes = connect_processes(args.communicator)
    device = select_device(processes.local_gpu(args.gpu), args.tf32)
    flags.check_run(args)
    dataset = CaptionDataset.load(args.captions)
    fingerprints = {'captions': dataset.fingerprint()}
    images = numpy.arange(len(dataset.imgid))
    features = FeatureTable.open(args.features, dataset, images, args.combine)
    dataset = dataset.without(features.left_out)
    check_captions(args, dataset, processes)
    set_seed(args.seed)
    model = make_model(args, dataset, features, processes)
    fingerprints |= {
        'features': processes.compute_on_main(fingerprint, features),
        'model': model.fingerprint() if args.model else None,
    }
    model.run = record_run(vars(args), fingerprints, device, processes)
    model.network.to_device(device)
    model.network.try_out()
    features.to_device(device)
    lock = locked(args.output) if processes.is_main else contextlib.nullcontext()
    with lock, Interruption(processes) as interruption:
        trainer = make_trainer(args, dataset, features, model, interruption, processes)
        settings = flags.fixed_settings(args, model, fingerprints, processes)
        trainer.extend(Snapshot(settings, args.snapshot_every, processes))
        if args.resume:
            load_snapshot(os.path.join(args.output, SNAPSHOT), trainer, settings)
        reports.print_start(dataset)
        # A loss that overflows ends the training with an error message of its own.
        with numpy.errstate(over='ignore', invalid='ignore'):
            trainer.run(show_loop_exception_msg=False)
        if processes.is_main:
            trainer.get_extension('PlotLog').draw(trainer)
        if not trainer.stop_trigger.is_complete(trainer):
            save_interrupted(trainer, processes)
            return interruption.exit_code
    reports.print_best(trainer, args.select_by)
    return 0


def check_captions(args, dataset, processes):
    for split in 'train', 'val':
        if not dataset.captions_of(split).size:
            advice = 'preprocess_vocab.py --val-size N moves N training images to it'
            raise InputError(
                f'{args.captions}: has no captions in the split "{split}"'
                + (f'; {advice}' if split == 'val' else '')
            )
    if len(dataset.captions_of('train')) < processes.size:
        raise InputError(f'{args.captions}: has too few captions for {processes.size} processes')
    if args.select_by == 'CIDEr' and len(dataset.images_of('val')) < 2:
        note = '--select-by CIDEr: CIDEr is 0 for a single validation image; the loss decides'
        warnings.warn(note, InputWarning, stacklevel=1)


def make_model(args, dataset, features, processes):
    """Returns a new model, or the one to start from, with the settings of the flags."""
    if args.model is None:
        kind = NETWORKS[args.network or 'show_and_tell']
        sizes = {
            'feature_size': features.shape[1],
            'vocabulary_size': len(dataset.vocabulary),
            'embed_size': args.embed or 512,
            'hidden_size': args.hidden or 512,
            'n_layers': args.layers or 1,
        }
        if args.gpu < 0:  # CuPy raises an error of its own, and nothing else is harmed
            n_tokens = dataset.lengths[dataset.captions_of('train')].mean() + 1
            n_logits = int(args.batch_size * n_tokens * sizes['vocabulary_size'])
            n_parameters = kind.estimate_count(**sizes)
            check_training_memory(n_parameters, args.optimizer, n_logits, processes.local_size)
        network = kind(**sizes, dropout=args.dropout)
        model = TrainedModel(network, dataset.vocabulary, features.source)
    else:
        model = TrainedModel.load(args.model, args.network)
        network = model.network
        if model.vocabulary != dataset.vocabulary:
            raise InputError(f'{args.model}: has another vocabulary than {args.captions}')
        model.check_features(features)
        flags.check_sizes(args, network)
        network.dropout = args.dropout
        model.feature_source = features.source or model.feature_source
    network.label_smoothing = args.label_smoothing
    if args.standardize:
        imgids = dataset.imgid[dataset.images_of('train')]
        mean, inverse_std = processes.compute_on_main(features.mean_and_inverse_std, imgids)
        network.feature_mean[:] = mean
        network.feature_scale[:] = inverse_std
    return model


def make_trainer(args, dataset, features, model, interruption, processes):
    """Connects data, optimizer and network, and adds what happens during training."""
    network = model.network
    captions = dataset.captions_of('train')
    # With more, Chainer's iterator would go through the captions several times in an iteration.
    batch_size = min(args.batch_size * processes.size, len(captions))
    # All processes go through the captions in one order; each converts its share of a batch.
    iterator = chainer.iterators.SerialIterator(
        captions, batch_size, order_sampler=processes.draw_order
    )
    loss = None  # the network's own
    if args.reward:
        reward = CiderReward(dataset)
        loss = RewardLoss(network, reward, args.reward_weight, args.reward_samples)
    communicator = processes.communicator if processes.size > 1 else None
    optimizer = make_optimizer(
        network, args.optimizer, args.lr, args.weight_decay, args.gradient_clip, communicator
    )
    updater = training.updaters.StandardUpdater(
        iterator,
        optimizer,
        make_converter(dataset, features, args.loss_reduction, processes),
        network.device,
        loss,
    )
    stop_trigger = StopTrigger(args.epoch, args.patience, args.select_by, interruption)
    trainer = training.Trainer(updater, stop_trigger, args.output)
    trainer.extend(
        TokenMeanEvaluator(network, dataset, features, args.batch_size, processes),
        name='validation',
    )
    schedule = LearningRateSchedule(
        args.lr,
        args.lr_schedule,
        args.lr_decay,
        args.lr_decay_every,
        args.warmup_iterations,
        args.epoch,
    )
    trainer.extend(LearningRate(schedule, OPTIMIZERS[args.optimizer].rate_name))
    if args.scheduled_sampling:
        trainer.extend(ScheduledSampling(network, args.scheduled_sampling, args.epoch))
    trainer.extend(StopIfDiverged())
    trainer.extend(EpochLog(model.run, processes))
    if args.select_by == 'CIDEr':
        trainer.extend(ScoreCaptions(model, dataset, features, processes))
    trainer.extend(RandomState())
    if not processes.is_main:
        trainer.extend(SeedIterations(args.seed, processes.rank))
        return trainer
    images = dataset.images_of('val')[:N_REPORTED_IMAGES]
    trainer.extend(reports.ProgressBar(iterations_per_epoch=-(-len(captions) // batch_size)))
    trainer.extend(reports.PrintEpoch())
    trainer.extend(
        reports.PrintCaptions(model, dataset.filename[images], features[dataset.imgid[images]])
    )
    trainer.extend(reports.PlotLog())
    trainer.extend(SaveModel(model, args.select_by))
    return trainer


if __name__ == '__main__':
    run_main(main)
