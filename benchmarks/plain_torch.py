"""The PyTorch program that people would write instead: nn.LSTM on packed sequences."""

import numpy
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from lib.decoding.caption import Caption
from models.fast.products import is_tf32


def torch_device(device):
    """Returns PyTorch's name of a Chainer device and selects the precision that CuPy uses there."""
    if device.xp is numpy:
        return 'cpu'
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = is_tf32()
    return f'cuda:{device.device.id}'


def as_tensor(array, device):
    """Returns an array as a tensor on a Chainer device."""
    return torch.from_numpy(array).to(torch_device(device))


class PlainTorch(nn.Module):
    def __init__(self, feature_size, vocabulary_size, size, dropout=0.5):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.image_projection = nn.Linear(feature_size, size)
        self.embedding = nn.Embedding(vocabulary_size, size)
        self.lstm = nn.LSTM(size, size)
        self.output = nn.Linear(size, vocabulary_size)

    def forward(self, features, inputs, targets, captions_per_step):
        """Returns the loss of packed tokens, as our own model takes them, without padding."""
        image = self.image_projection(self.dropout(features))
        x = self.dropout(torch.cat((image, self.embedding(inputs))))
        packed = PackedSequence(x, torch.tensor([len(features), *captions_per_step]))
        h = self.dropout(self.lstm(packed)[0].data[len(features) :])
        return nn.functional.cross_entropy(self.output(h), targets)


def from_ours(model):
    """Returns a PlainTorch with the weights of a ShowAndTell of one layer and one size."""
    sizes = model.hyperparameters
    plain = PlainTorch(sizes['feature_size'], sizes['vocabulary_size'], sizes['hidden_size'])
    order = [0, 1, 3, 2]  # PyTorch's blocks of gates are i, f, g, o
    lstm = {
        name: numpy.concatenate([numpy.split(array, 4)[k] for k in order])
        for name, array in (
            ('weight_ih_l0', model.lstm[0].W_x.array),
            ('weight_hh_l0', model.lstm[0].W_h.array),
            ('bias_ih_l0', model.lstm[0].b.array),
            ('bias_hh_l0', numpy.zeros_like(model.lstm[0].b.array)),
        )
    }
    arrays = {
        'image_projection.weight': model.image_projection.W.array,
        'image_projection.bias': model.image_projection.b.array,
        'embedding.weight': model.embedding.W.array,
        'output.weight': model.output.W.array,
        'output.bias': model.output.b.array,
        **{f'lstm.{name}': array for name, array in lstm.items()},
    }
    plain.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return plain.eval()


@torch.inference_mode()
def beam_search(model, features, beam_width, top, max_length, start=0, end=1):
    """The usual batched beam search: all beams of all images in each step, until all end.

    Returns:
        list of list of Caption: For each image its ``top`` captions, best first.
    """
    n_images, n_tokens = len(features), model.output.out_features
    device = features.device
    _, state = model.lstm(model.image_projection(features)[None])
    state = tuple(part.repeat_interleave(beam_width, dim=1) for part in state)
    scores = torch.full((n_images, beam_width), -torch.inf, device=device)
    scores[:, 0] = 0
    tokens = torch.full((n_images, beam_width, 1), start, device=device)
    finished = torch.zeros((n_images, beam_width), dtype=torch.bool, device=device)
    only_end = torch.full((n_tokens,), -torch.inf, device=device)
    only_end[end] = 0  # finished captions are extended by end tokens at no cost
    first_rows = beam_width * torch.arange(n_images, device=device)[:, None]
    for _ in range(max_length):
        h, state = model.lstm(model.embedding(tokens[:, :, -1].reshape(1, -1)), state)
        log_probs = model.output(h[0]).log_softmax(dim=1).view(n_images, beam_width, n_tokens)
        log_probs[finished] = only_end
        candidates = (scores[:, :, None] + log_probs).view(n_images, -1)
        scores, best = candidates.topk(beam_width, dim=1)
        parents, next_tokens = best // n_tokens, best % n_tokens
        rows = (first_rows + parents).view(-1)
        state = tuple(part[:, rows] for part in state)
        tokens = torch.cat(
            (
                tokens.view(-1, tokens.shape[2])[rows].view(n_images, beam_width, -1),
                next_tokens[:, :, None],
            ),
            dim=2,
        )
        finished = tokens[:, :, -1] == end
        if finished.all():
            break
    return [
        [
            Caption(caption[: [*caption, end].index(end)], score)
            for caption, score in zip(image_tokens, image_scores)
        ]
        for image_tokens, image_scores in zip(
            tokens[:, :top, 1:].tolist(), scores[:, :top].tolist()
        )
    ]


class CaffeNetwork(nn.Module):
    """The layers of a CaffeFunction up to one of them, in PyTorch, with shared weights."""

    def __init__(self, network, last_blob):
        super().__init__()
        self.steps, self.last_blob = [], last_blob
        layers = nn.ModuleList()
        for name, bottoms, tops in network.layers:
            module = _as_module(
                network.forwards[name], getattr(network, name, None), in_place=bottoms == tops
            )
            layers.append(module)
            self.steps.append((module, bottoms, tops[0]))
            if tops[0] == last_blob and not any(
                last_blob in later for _, _, later in network.layers[len(self.steps) :]
            ):
                break
        self.layers = layers.eval()

    def forward(self, pixels):
        blobs = {'data': pixels}
        for module, bottoms, top in self.steps:
            blobs[top] = module(*(blobs[blob] for blob in bottoms))
        return blobs[self.last_blob]


class Concatenation(nn.Module):
    def forward(self, *blobs):
        return torch.cat(blobs, dim=1)


def _as_module(forward, link, in_place):
    if link is not None:
        W, b = (
            nn.Parameter(torch.from_numpy(param.array), requires_grad=False)
            for param in (link.W, link.b)
        )
        if W.ndim == 4:
            module = nn.Conv2d(W.shape[1], W.shape[0], W.shape[2:], link.stride, link.pad)
        else:
            module = nn.utils.skip_init(nn.Linear, W.shape[1], W.shape[0])
        module.weight, module.bias = W, b
        return module if W.ndim == 4 else nn.Sequential(nn.Flatten(), module)
    function = getattr(forward, 'func', forward).__name__
    if function == 'max_pooling_2d':
        return nn.MaxPool2d(
            forward.args[0], forward.kwargs['stride'], forward.kwargs['pad'], ceil_mode=True
        )
    return {
        'relu': lambda: nn.ReLU(in_place),
        'relu_in_place': lambda: nn.ReLU(in_place),
        'dropout': nn.Dropout,
        'concat': Concatenation,
        '_func': lambda: nn.AdaptiveAvgPool2d(1),
    }[function]()
