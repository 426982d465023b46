"""Images per second through VGG19 or SqueezeNet: ours, ONNX Runtime alone, PyTorch and Chainer.

    python -m benchmarks.cnn [--cnn squeezenet_v1.0.caffemodel --layer pool10 --image-size 227]

Without a caffemodel, a VGG19 with random weights (558 MB) is written to a temporary folder,
and its fc7 computed. All run in turn, several rounds, on prepared images.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import chainer
import numpy
import onnxruntime
from chainer.links.caffe import CaffeFunction

from benchmarks.workload import has_torch, measure_sgemm, seconds_of
from lib.cli.parser import ArgumentParser, add_device_flags, number
from lib.cli.run import run_main
from lib.device import select_device
from lib.features.cnn import FOLDER_KEY
from lib.features.extractor import FeatureExtractor
from lib.features.feature_source import FeatureSource
from models.caffe.caffemodel_file import read_layers
from models.caffe.to_onnx import make_model
from tests.helpers.caffemodels import write_vgg19

MEAN = [103.939, 116.779, 123.68]

# Prints by how many bytes the peak of a process grows while it computes features.
GROWTH = r"""
import re, sys
from benchmarks import cnn
def peak():
    return 1024 * int(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])
name, path, layer, size, n = sys.argv[1:]
program = cnn.PROGRAMS[name](path, layer, int(size), cnn.select_device(-1))
pixels = cnn.random_pixels(int(n), int(size))
peak_before = peak()
program(pixels)
print(peak() - peak_before)
"""


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flags(parser)
    parser.add_argument(
        '-i', '--cnn', metavar='FILE', help='caffemodel; a random VGG19 unless given'
    )
    parser.add_argument('--layer', default='fc7', metavar='NAME', help='layer to compute')
    parser.add_argument(
        '--image-size', type=number(int, low=1), default=224, metavar='N', help='pixels on a side'
    )
    parser.add_argument(
        '--batch-size',
        type=number(int, low=1),
        nargs='+',
        default=[1, 8],
        metavar='N',
        help='images at once',
    )
    parser.add_argument(
        '--rounds',
        type=number(int, low=1),
        default=5,
        metavar='N',
        help='repetitions of each program',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    device = select_device(args.gpu, args.tf32)
    with tempfile.TemporaryDirectory() as folder:
        path = args.cnn or write_vgg19(
            pathlib.Path(folder) / 'vgg19.caffemodel', width=64, features=4096
        )
        print(
            f'{"images":>8}  {"":<9}{"per second":>12}{"speed-up":>10}{"of bound":>10}'
            f'{"memory":>10}{"differs":>10}'
        )
        for n in args.batch_size:
            compare(args, device, str(path), n)
    print(
        'speed-up: of ours over this one; bound: direct convolutions and products at the rate of '
        'one large product;\nmemory: growth of the process beyond the network, CPU only; differs: '
        'from Chainer, relative to the largest feature'
    )


def compare(args, device, path, n):
    pixels = random_pixels(n, args.image_size)
    programs = {
        name: make(path, args.layer, args.image_size, device)
        for name, make in PROGRAMS.items()
        if name != 'PyTorch' or has_torch(device)
    }
    flops = programs['Chainer'].count_flops(pixels[:1])
    outputs = {name: program(pixels) for name, program in programs.items()}
    rates, bounds = {name: [] for name in programs}, []
    for _ in range(args.rounds):
        bounds.append(measure_sgemm(device) / flops)
        for name, program in programs.items():
            rates[name].append(n / seconds_of(device, program, pixels)[0])
    for name, values in rates.items():
        speed_up = numpy.median(numpy.array(rates['ours']) / values)
        share = numpy.median(numpy.array(values) / bounds)
        growth = f'{measure_growth(name, path, args, n) / 1e6:.0f} MB' if args.gpu < 0 else ''
        expected = outputs['Chainer']
        difference = abs(outputs[name] - expected).max() / abs(expected).max()
        print(
            f'{n:>8}  {name:<9}{numpy.median(values):>12.2f}{speed_up:>8.2f} x{share:>10.0%}'
            f'{growth:>10}{difference:>10.0e}',
            flush=True,
        )


def random_pixels(n, size):
    return (255 * numpy.random.RandomState(0).rand(n, 3, size, size) - 110).astype('float32')


def measure_growth(name, path, args, n):
    arguments = name, path, args.layer, str(args.image_size), str(n)
    process = subprocess.run(
        [sys.executable, '-c', GROWTH, *arguments], capture_output=True, check=True, text=True
    )
    return int(process.stdout)


class Ours:
    def __init__(self, path, layer, size, device):
        source = FeatureSource(os.path.basename(path), layer, size, MEAN, 'warp')
        self._extractor = FeatureExtractor.load(path, device, source)
        self._to_cpu = chainer.get_device('@numpy').send

    def __call__(self, pixels):
        return self._to_cpu(self._extractor(pixels))


class RuntimeAlone:
    """ONNX Runtime on all images at once."""

    def __init__(self, path, layer, size, device):
        model = make_model(read_layers(path), [layer], size, os.path.basename(path))
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry(FOLDER_KEY, os.path.dirname(os.path.abspath(path)))
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=['CPUExecutionProvider']
        )

    def __call__(self, pixels):
        (features,) = self._session.run(None, {'images': pixels})
        return features.reshape(len(pixels), -1)


class ChainersOwn:
    """CaffeFunction as it comes."""

    def __init__(self, path, layer, size, device):
        self._network = CaffeFunction(path)
        self._network.to_device(device)
        self._device, self._layer = device, layer
        self._to_cpu = chainer.get_device('@numpy').send

    def __call__(self, pixels):
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            (features,) = self._network(
                inputs={'data': self._device.send(pixels)}, outputs=[self._layer]
            )
        return self._to_cpu(features.array).reshape(len(pixels), -1)

    def count_flops(self, pixels):
        """Counts the operations of convolutions and products, as they are defined."""
        with FlopCounter() as counter:
            self(pixels)
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


class Torch:
    def __init__(self, path, layer, size, device):
        from benchmarks.plain_torch import CaffeNetwork, torch_device

        self._device = torch_device(device)
        self._network = CaffeNetwork(CaffeFunction(path), layer).to(self._device)

    def __call__(self, pixels):
        import torch

        with torch.inference_mode():
            features = self._network(torch.from_numpy(pixels).to(self._device))
        return features.cpu().numpy().reshape(len(pixels), -1)


PROGRAMS = {'ours': Ours, 'runtime': RuntimeAlone, 'PyTorch': Torch, 'Chainer': ChainersOwn}


if __name__ == '__main__':
    run_main(main)
