"""Scores of the plain PyTorch program on a data set, to compare with those of evaluate.py.

    python -m benchmarks.torch_scores -s captions.h5 -i feats.mat [--epoch 10]

Trains what people would write instead: nn.LSTM on packed sequences, Adam at 0.001, dropout 0.5,
batches of 128, standardized features, the epoch of the lowest validation loss, beam search.
"""

import copy
import json

import chainer
import numpy
import torch
from lib.captions.packing import make_converter

from benchmarks import plain_torch
from lib.captions.dataset import CaptionDataset
from lib.cli.parser import ArgumentParser, add_device_flags, add_seed_flag, number
from lib.cli.run import run_main
from lib.device import select_device
from lib.evaluation.metrics import CaptionScorer, has_java
from lib.features.formats import read_features
from lib.features.table import FeatureTable

SIZE, BATCH_SIZE, MAX_LENGTH = 512, 128, 60


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flags(parser)
    parser.add_argument('-s', '--captions', required=True, metavar='FILE', help='captions.h5')
    parser.add_argument('-i', '--features', required=True, metavar='FILE', help='image features')
    parser.add_argument(
        '--epoch', type=number(int, low=1), default=10, metavar='N', help='number of epochs'
    )
    parser.add_argument(
        '--beam-width',
        type=number(int, low=1),
        nargs='+',
        default=[1, 3, 20],
        metavar='M',
        help='beam widths to score',
    )
    add_seed_flag(parser, 'weights, order and dropout')
    return parser.parse_args()


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    numpy.random.seed(args.seed)
    device = select_device(args.gpu, args.tf32)
    torch_device = plain_torch.torch_device(device)
    dataset = CaptionDataset.load(args.captions)
    features = FeatureTable(read_features(args.features).rows)
    mean, inverse_std = features.mean_and_inverse_std(dataset.imgid[dataset.images_of('train')])
    features = (features[:] - mean) * inverse_std
    model = plain_torch.PlainTorch(features.shape[1], len(dataset.vocabulary), SIZE)
    model = train(model.to(torch_device), Batches(dataset, features, torch_device), args.epoch)

    images = dataset.images_of('val')
    scorer = CaptionScorer(dataset.references_of(images), has_java())
    batches = numpy.array_split(features[dataset.imgid[images]], -(-len(images) // 64))
    for beam_width in args.beam_width:
        captions = [
            dataset.vocabulary.decode(best.tokens)
            for batch in batches
            for (best,) in plain_torch.beam_search(
                model, plain_torch.as_tensor(batch, device), beam_width, 1, MAX_LENGTH
            )
        ]
        scores = scorer(captions).values
        print(json.dumps({'beam_width': beam_width, **scores}), flush=True)


class Batches:
    """Batches of a split's captions, as PlainTorch takes them."""

    def __init__(self, dataset, features, torch_device):
        self._dataset, self._torch_device = dataset, torch_device
        self._convert = make_converter(dataset, features)

    def of(self, split, shuffle):
        captions = self._dataset.captions_of(split)
        if shuffle:
            captions = numpy.random.permutation(captions)
        for start in range(0, len(captions), BATCH_SIZE):
            *arrays, batch_sizes, _ = self._convert(
                captions[start : start + BATCH_SIZE], chainer.get_device('@numpy')
            )
            features, inputs, targets = (
                torch.from_numpy(array).to(self._torch_device) for array in arrays
            )
            yield features, inputs.long(), targets.long(), batch_sizes


def train(model, batches, n_epochs):
    """Returns the model as it was after the epoch of the lowest validation loss."""
    optimizer = torch.optim.Adam(model.parameters())
    best_loss, best_model = numpy.inf, None
    for epoch in range(1, n_epochs + 1):
        model.train()
        for batch in batches.of('train', shuffle=True):
            optimizer.zero_grad()
            model(*batch).backward()
            optimizer.step()
        loss = validation_loss(model.eval(), batches)
        print(f'epoch {epoch}: validation loss {loss:.4f}', flush=True)
        if loss < best_loss:
            best_loss, best_model = loss, copy.deepcopy(model)
    return best_model


@torch.inference_mode()
def validation_loss(model, batches):
    total = n_tokens = 0
    for batch in batches.of('val', shuffle=False):
        total += float(model(*batch)) * len(batch[2])
        n_tokens += len(batch[2])
    return total / n_tokens


if __name__ == '__main__':
    run_main(main)
