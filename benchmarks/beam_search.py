"""Images captioned a second by beam search: ours, and a batched one in PyTorch.

    python -m benchmarks.beam_search -m best.h5 -s captions.h5 -i feats.mat [--gpu 0] [--plain]

Both decode the validation images with the same trained weights, the same number at once,
in turn; rates are medians over the rounds. Their captions must be the same. --plain adds, once,
the search that goes sentence by sentence as the reference program does.
"""

from benchmarks.workload import measure_sgemm, seconds_of
from lib.beam_search import beam_search
from lib.caption_file import Captions
from lib.command_line import ArgumentParser, add_device_flag, positive_int, run, select_device
from lib.features import load_features
from lib.trained_model import TrainedModel
from tests.lib.plain_beam_search import plain_beam_search

import numpy

MAX_LENGTH = 60


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flag(parser)
    parser.add_argument('-m', '--model', required=True, help='trained model')
    parser.add_argument('-s', '--sentence', required=True, help='captions, for their val images')
    parser.add_argument('-i', '--image', required=True, help='features of the images')
    parser.add_argument('--images', type=positive_int, default=256, help='how many to caption')
    parser.add_argument('--at-once', type=positive_int, default=32, help='images in a batch')
    parser.add_argument('--beam-width', type=positive_int, nargs='+', default=[1, 3, 20, 100],
                        metavar='M', help='beam widths to measure')
    parser.add_argument('--top', type=positive_int, default=5, help='captions an image')
    parser.add_argument('--rounds', type=positive_int, default=3, help='how often each one runs')
    parser.add_argument('--plain', action='store_true', help='measure the slow search too')
    return parser.parse_args()


def main():
    from benchmarks import plain_torch

    args = parse_args()
    device = select_device(args.gpu)
    captions = Captions.load(args.sentence)
    network = TrainedModel.load(args.model).network
    rival = plain_torch.from_ours(network).to(plain_torch.torch_device(device))
    features = load_features(args.image).array[captions.imgid[captions.images_of('val')]]
    features = features[:args.images]
    batches = numpy.array_split(features, -(-len(features) // args.at_once))
    standardized = [plain_torch.as_tensor((batch - network.feature_mean) * network.feature_scale,
                                          device) for batch in batches]
    network.to_device(device)
    batches = [device.send(batch) for batch in batches]

    print(f'{"M":>4}  {"":<9}{"images/s":>10}{"ours is":>10}{"of bound":>10}{"same":>10}'
          f'{"log-prob":>10}')
    for beam_width in args.beam_width:
        counter = CountingNetwork(network)
        options = beam_width, min(args.top, beam_width), MAX_LENGTH
        compare(args, device, beam_width, counter, {
            'ours': lambda counter=counter, options=options: [
                sentences for batch in batches
                for sentences in beam_search(counter, batch, *options)],
            'PyTorch': lambda options=options: [
                sentences for batch in standardized
                for sentences in plain_torch.beam_search(rival, batch, *options)],
            'plain': lambda options=options: [
                plain_beam_search(network, feature, *options)
                for batch in batches for feature in batch]})
    print('same: share of images with the same captions in the same order; log-prob: largest '
          'difference\namong those')


def compare(args, device, beam_width, counter, programs):
    """Prints a row for each program; the plain one runs once, if at all."""
    results, rates, bounds = {}, {name: [] for name in programs}, []
    for round_number in range(args.rounds):
        bounds.append(measure_sgemm(device))
        for name, program in programs.items():
            if name != 'plain' or (args.plain and round_number == 0):
                seconds = seconds_of(device, lambda name=name, program=program: results.update(
                    {name: program()}))
                rates[name].append(len(results[name]) / seconds)
    flops = counter.flops / args.rounds / len(results['ours'])
    for name, sentences in results.items():
        ratio = numpy.median(numpy.array(rates['ours'][:len(rates[name])]) / rates[name])
        share = numpy.median(numpy.array(rates[name]) * flops / bounds[:len(rates[name])])
        same, difference = agreement(results['ours'], sentences)
        print(f'{beam_width:>4}  {name:<9}{numpy.median(rates[name]):>10.1f}{ratio:>8.2f} x'
              f'{share:>10.0%}{same:>10.1%}{difference:>10.0e}', flush=True)


class CountingNetwork:
    """Counts the operations of the matrix products that a search asks for."""

    def __init__(self, network):
        self._network, self.flops = network, 0
        sizes = network.hyperparameters
        hidden = sizes['hidden_size']
        self._of_row = 2 * (4 * hidden * (sizes['embed_size'] + hidden)
                            + hidden * sizes['vocabulary_size'])

    def start(self, features):
        return self._network.start(features)

    def step(self, tokens, state):
        self.flops += self._of_row * len(tokens)
        return self._network.step(tokens, state)


def agreement(ours, theirs):
    """Returns the share of images with the same captions, and their largest difference."""
    differences = [
        max(abs(a.log_prob - b.log_prob) for a, b in zip(*pair)) for pair in zip(ours, theirs)
        if [sentence.tokens for sentence in pair[0]] == [sentence.tokens for sentence in pair[1]]]
    return len(differences) / len(ours), max(differences, default=numpy.nan)


if __name__ == '__main__':
    run(main)
