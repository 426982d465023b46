"""Pictures a second through VGG19 and SqueezeNet: ours, PyTorch, and Chainer's own layers.

    python -m benchmarks.cnn [--caffemodel squeezenet_v1.0.caffemodel --layer pool10
                              --image-size 227]

Without a caffemodel, a VGG19 with random weights (558 MB) is written to a temporary folder, and
its fc7 is taken. The three run in turn, several rounds, on arrays that are already prepared.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from benchmarks.workload import measure_sgemm, seconds_of
from lib.caffemodel import Caffemodel
from lib.command_line import (
    ArgumentParser,
    add_device_flag,
    positive_int,
    run,
    select_device,
)
from lib.feature_extractor import FeatureExtractor
from lib.features import FeatureSource
from tests.caffemodels import write_vgg19

import chainer
import numpy

MEAN = [103.939, 116.779, 123.68]

# Prints by how many bytes computing features raises the peak of a process.
GROWTH = r'''
import re, sys
from benchmarks import cnn
def peak():
    return 1024 * int(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])
name, path, layer, size, n = sys.argv[1:]
program = cnn.PROGRAMS[name](path, layer, int(size), cnn.select_device(-1))
pixels = cnn.random_pixels(int(n), int(size))
before = peak()
program(pixels)
print(peak() - before)
'''


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flag(parser)
    parser.add_argument('--caffemodel', help='network; if not given, a random VGG19')
    parser.add_argument('--layer', default='fc7', help='layer to compute')
    parser.add_argument('--image-size', type=positive_int, default=224, help='pixels')
    parser.add_argument('--batch-size', type=positive_int, nargs='+', default=[1, 8],
                        help='pictures at once')
    parser.add_argument('--rounds', type=positive_int, default=5, help='how often each one runs')
    return parser.parse_args()


def main():
    args = parse_args()
    device = select_device(args.gpu)
    with tempfile.TemporaryDirectory() as folder:
        path = args.caffemodel or write_vgg19(pathlib.Path(folder) / 'vgg19.caffemodel', width=64,
                                              features=4096)
        print(f'{"pictures":>8}  {"":<9}{"a second":>10}{"ours is":>10}{"of bound":>10}'
              f'{"memory":>10}{"differs":>10}')
        for n in args.batch_size:
            compare(args, device, str(path), n)
    print('bound: the products of convolutions and layers as they are defined, at the rate of one '
          'large product\nmemory: growth of the process beyond the network, CPU only\n'
          'differs: from Chainer, share of the largest feature')


def compare(args, device, path, n):
    pixels = random_pixels(n, args.image_size)
    programs = {name: make(path, args.layer, args.image_size, device)
                for name, make in PROGRAMS.items()}
    flops = count_flops(programs['ours'], pixels[:1])
    outputs = {name: program(pixels) for name, program in programs.items()}
    rates, bounds = {name: [] for name in programs}, []
    for _ in range(args.rounds):
        bounds.append(measure_sgemm(device) / flops)
        for name, program in programs.items():
            rates[name].append(n / seconds_of(device, program, pixels))
    for name, values in rates.items():
        ratio = numpy.median(numpy.array(rates['ours']) / values)
        share = numpy.median(numpy.array(values) / bounds)
        growth = f'{measure_growth(name, path, args, n) / 1e6:.0f} MB' if args.gpu < 0 else ''
        expected = outputs['Chainer']
        difference = abs(outputs[name] - expected).max() / abs(expected).max()
        print(f'{n:>8}  {name:<9}{numpy.median(values):>10.2f}{ratio:>8.2f} x{share:>10.0%}'
              f'{growth:>10}{difference:>10.0e}', flush=True)


def random_pixels(n, size):
    return (255 * numpy.random.RandomState(0).rand(n, 3, size, size) - 110).astype('float32')


def measure_growth(name, path, args, n):
    return int(subprocess.run(
        [sys.executable, '-c', GROWTH, name, path, args.layer, str(args.image_size), str(n)],
        capture_output=True, check=True, text=True).stdout)


class Ours:
    def __init__(self, path, layer, size, device):
        source = FeatureSource(os.path.basename(path), layer, size, MEAN, 'warp')
        self.extractor = FeatureExtractor(path, source, device, 4 if device.xp is numpy else 32)
        self.send = chainer.get_device('@numpy').send

    def __call__(self, pixels):
        return self.send(self.extractor(pixels))


class ChainersOwn:
    """CaffeFunction as it comes, but for the time that its loading takes."""

    def __init__(self, path, layer, size, device):
        self.network = Caffemodel(path)
        self.network.to_device(device)
        self.device, self.layer = device, layer
        self.send = chainer.get_device('@numpy').send

    def __call__(self, pixels):
        # With gradients in reach, the layers are Chainer's.
        with chainer.using_config('train', False):
            features, = self.network(inputs={'data': self.device.send(pixels)},
                                     outputs=[self.layer])
        return self.send(features.array).reshape(len(pixels), -1)


class Torch:
    def __init__(self, path, layer, size, device):
        from benchmarks.plain_torch import CaffeNetwork, torch_device

        self.name = torch_device(device)
        self.network = CaffeNetwork(Caffemodel(path), layer).to(self.name)

    def __call__(self, pixels):
        import torch
        with torch.inference_mode():
            features = self.network(torch.from_numpy(pixels).to(self.name))
        return features.cpu().numpy().reshape(len(pixels), -1)


PROGRAMS = {'ours': Ours, 'PyTorch': Torch, 'Chainer': ChainersOwn}


def count_flops(ours, pixels):
    """Counts the operations of the products for one picture, as Chainer's layers make them."""
    counter = FlopCounter()
    with counter, chainer.using_config('train', False):
        network = ours.extractor._network
        network(inputs={'data': ours.extractor._device.send(pixels)}, outputs=[])
    return counter.flops


class FlopCounter(chainer.FunctionHook):
    def __init__(self):
        self.flops = 0

    def forward_postprocess(self, function, in_data):
        if function.label == 'Convolution2DFunction':
            x, W = in_data[:2]
            self.flops += 2 * W.size * int(numpy.prod(function._get_out_size(x.shape, W.shape)))
        elif function.label == 'LinearFunction':
            self.flops += 2 * in_data[1].size


if __name__ == '__main__':
    run(main)
