"""Images captioned per second by beam search: ours and a batched one in PyTorch.

    python -m benchmarks.beam_search -m best.h5 -s captions.h5 -i feats.mat [--gpu 0] [--plain]

Both decode the validation images in turn, with the same trained weights and the same batches;
rates are medians over the rounds. Their captions should be the same. --plain adds, once, a
search that goes caption by caption, as the reference program's does.
"""

from functools import partial

import numpy

from benchmarks.workload import has_torch, measure_sgemm, seconds_of
from lib.captions.dataset import CaptionDataset
from lib.cli.parser import ArgumentParser, add_device_flags, number
from lib.cli.run import run_main
from lib.decoding.beam_search import beam_search
from lib.device import select_device
from lib.features.table import FeatureTable
from lib.trained_model import TrainedModel
from tests.helpers.plain_beam_search import plain_beam_search

MAX_LENGTH = 60


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flags(parser)
    parser.add_argument('-m', '--model', required=True, metavar='FILE', help='trained model')
    parser.add_argument(
        '-s',
        '--captions',
        required=True,
        metavar='FILE',
        help='captions.h5, for its validation images',
    )
    parser.add_argument('-i', '--features', required=True, metavar='FILE', help='image features')
    parser.add_argument(
        '--images', type=number(int, low=1), default=256, metavar='N', help='images to caption'
    )
    parser.add_argument(
        '--batch-size', type=number(int, low=1), default=32, metavar='N', help='images at once'
    )
    parser.add_argument(
        '--beam-width',
        type=number(int, low=1),
        nargs='+',
        default=[1, 3, 20, 100],
        metavar='M',
        help='beam widths to measure',
    )
    parser.add_argument(
        '--top', type=number(int, low=1), default=5, metavar='N', help='captions per image'
    )
    parser.add_argument(
        '--rounds',
        type=number(int, low=1),
        default=3,
        metavar='N',
        help='repetitions of each search',
    )
    parser.add_argument(
        '--plain', action='store_true', help='on a CPU, measure the slow search, too'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    device = select_device(args.gpu, args.tf32)
    dataset = CaptionDataset.load(args.captions)
    network = TrainedModel.load(args.model).network
    images = dataset.images_of('val')[: args.images]
    features = FeatureTable.open([args.features], dataset, images)[dataset.imgid[images]]
    batches = numpy.array_split(features, -(-len(features) // args.batch_size))
    search_with_torch = has_torch(device) and prepare_torch(network, batches, device)
    network.to_device(device)
    batches = [device.send(batch) for batch in batches]

    print(
        f'{"M":>4}  {"":<9}{"images/s":>10}{"speed-up":>10}{"of bound":>10}{"same":>10}'
        f'{"log-prob":>10}'
    )
    for beam_width in args.beam_width:
        counter = CountingNetwork(network)
        options = beam_width, min(args.top, beam_width), MAX_LENGTH
        searches = {'ours': partial(search_all, beam_search, counter, batches, options)}
        if search_with_torch:
            searches['PyTorch'] = partial(search_with_torch, options)
        if device.xp is numpy:
            searches['plain'] = partial(search_plainly, network, batches, options)
        compare(args, device, beam_width, counter, searches)
    print(
        'speed-up: of ours over this one; of bound: share of the rate that the matrix products '
        'alone allow;\nsame: share of images with the same captions in the same order; log-prob: '
        'their largest difference'
    )


def prepare_torch(network, batches, device):
    """Returns a search in PyTorch that takes the options."""
    from benchmarks import plain_torch

    torch_network = plain_torch.from_ours(network).to(plain_torch.torch_device(device))
    torch_batches = [
        plain_torch.as_tensor((batch - network.feature_mean) * network.feature_scale, device)
        for batch in batches
    ]
    return partial(search_all, plain_torch.beam_search, torch_network, torch_batches)


def search_all(search, network, batches, options):
    return [captions for batch in batches for captions in search(network, batch, *options)]


def search_plainly(network, batches, options):
    return [
        plain_beam_search(network, features, *options) for batch in batches for features in batch
    ]


def compare(args, device, beam_width, counter, searches):
    """Prints a row for each search; the plain one runs once, if at all."""
    captions, rates, bounds = {}, {name: [] for name in searches}, []
    for round_number in range(args.rounds):
        bounds.append(measure_sgemm(device))
        for name, search in searches.items():
            if name != 'plain' or (args.plain and round_number == 0):
                seconds, captions[name] = seconds_of(device, search)
                rates[name].append(len(captions[name]) / seconds)
    flops = counter.flops / args.rounds / len(captions['ours'])
    for name in captions:
        n_rounds = len(rates[name])
        speed_up = numpy.median(numpy.array(rates['ours'][:n_rounds]) / rates[name])
        share = numpy.median(numpy.array(rates[name]) * flops / bounds[:n_rounds])
        same, difference = agreement(captions['ours'], captions[name])
        print(
            f'{beam_width:>4}  {name:<9}{numpy.median(rates[name]):>10.1f}{speed_up:>8.2f} x'
            f'{share:>10.0%}{same:>10.1%}{difference:>10.0e}',
            flush=True,
        )


class CountingNetwork:
    """Counts the operations of the matrix products that a search needs."""

    def __init__(self, network):
        self._network, self.flops = network, 0
        sizes = network.hyperparameters
        hidden = sizes['hidden_size']
        self._flops_per_row = (
            2 * hidden * (4 * (sizes['embed_size'] + hidden) + sizes['vocabulary_size'])
        )

    def start(self, features):
        return self._network.start(features)

    def step(self, tokens, state):
        self.flops += self._flops_per_row * len(tokens)
        return self._network.step(tokens, state)


def agreement(ours, theirs):
    """Returns the share of images with the same captions, and their largest difference."""
    differences = [
        max(abs(a.log_prob - b.log_prob) for a, b in zip(*pair))
        for pair in zip(ours, theirs)
        if [caption.tokens for caption in pair[0]] == [caption.tokens for caption in pair[1]]
    ]
    return len(differences) / len(ours), max(differences, default=numpy.nan)


if __name__ == '__main__':
    run_main(main)
