"""Images captioned a second by beam search on the CPU: ours and a batched one in PyTorch.

    python -m benchmarks.beam_search -m best.h5 -s captions.h5 -i feats.mat

Both decode the validation images with the same trained weights, the same number at once,
in turn; rates are medians over the rounds. Their captions must be the same.
"""

import time

from benchmarks.workload import measure_sgemm
from lib.beam_search import beam_search
from lib.caption_file import Captions
from lib.command_line import ArgumentParser, positive_int, run
from lib.features import load_features
from lib.trained_model import TrainedModel
from lib.vocabulary import END

import numpy

MAX_LENGTH = 60


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument('-m', '--model', required=True, help='trained model')
    parser.add_argument('-s', '--sentence', required=True, help='captions, for their val images')
    parser.add_argument('-i', '--image', required=True, help='features of the images')
    parser.add_argument('--images', type=positive_int, default=256, help='how many to caption')
    parser.add_argument('--at-once', type=positive_int, default=32, help='images in a batch')
    parser.add_argument('--beam-width', type=positive_int, nargs='+', default=[1, 3, 20, 100],
                        metavar='M', help='beam widths to measure')
    parser.add_argument('--top', type=positive_int, default=5, help='captions an image')
    parser.add_argument('--rounds', type=positive_int, default=3, help='how often each one runs')
    return parser.parse_args()


def main():
    from benchmarks import plain_torch

    args = parse_args()
    captions = Captions.load(args.sentence)
    network = TrainedModel.load(args.model).network
    rival = plain_torch.from_ours(network)
    features = load_features(args.image).array[captions.imgid[captions.images_of('val')]]
    batches = numpy.array_split(features[:args.images], -(-args.images // args.at_once))
    standardized = [(batch - network.feature_mean) * network.feature_scale for batch in batches]
    n_images = sum(map(len, batches))

    print(f'{"M":>4}{"ours":>12}{"PyTorch":>12}{"ours is":>10}{"of bound":>10}{"same":>8}')
    for beam_width in args.beam_width:
        top = min(args.top, beam_width)
        rates = []
        for _ in range(args.rounds):
            bound = measure_sgemm()
            start = time.perf_counter()
            counter = CountingNetwork(network)
            ours = [beam_search(counter, batch, beam_width, top, MAX_LENGTH) for batch in batches]
            middle = time.perf_counter()
            theirs = [plain_torch.beam_search(rival, batch, beam_width, top, MAX_LENGTH)
                      for batch in standardized]
            end = time.perf_counter()
            seconds, their_seconds = middle - start, end - middle
            rates.append((n_images / seconds, n_images / their_seconds, their_seconds / seconds,
                          counter.flops / bound / seconds))
        rate, their_rate, ratio, share = numpy.median(rates, axis=0)
        print(f'{beam_width:>4}{rate:>10.1f}/s{their_rate:>10.1f}/s{ratio:>8.2f} x'
              f'{share:>10.0%}{agreement(ours, theirs):>8.1%}')
    print('same: the share of images whose best captions are the same; the others are ties to '
          'rounding')


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
    """Returns the share of images whose first captions are the same."""
    same = []
    for sentences, (words, _) in zip(ours, theirs):
        for own, other in zip(sentences, words[:, 0].tolist()):
            same.append(own[0].tokens == other[:[*other, END].index(END)])
    return numpy.mean(same)


if __name__ == '__main__':
    run(main)
