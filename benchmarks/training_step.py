"""Training steps per second: ours, a Chainer loop over time steps, and PyTorch.

    python -m benchmarks.training_step [--gpu 0] [--batch-size 128]

The three run in turn, several rounds, in one process; rates are tokens per second, and
ratios are medians over the rounds.
"""

import time

import chainer
import numpy

from benchmarks.plain_chainer import PlainChainer
from benchmarks.workload import (
    COCO_CAPTIONS,
    FEATURE_SIZE,
    Workload,
    has_torch,
    measure_sgemm,
    seconds_of,
)
from lib.cli.parser import ArgumentParser, add_device_flags, number
from lib.cli.run import run_main
from lib.device import select_device
from lib.training.adam import Adam
from models.show_and_tell import ShowAndTell


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flags(parser)
    parser.add_argument(
        '--rounds',
        type=number(int, low=1),
        default=5,
        metavar='N',
        help='repetitions of each program',
    )
    parser.add_argument(
        '--steps', type=number(int, low=1), default=6, metavar='N', help='training steps in a round'
    )
    parser.add_argument(
        '--batch-size', type=number(int, low=1), default=128, metavar='N', help='captions in a step'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    device = select_device(args.gpu, args.tf32)
    workload = Workload(args.batch_size)
    rng = numpy.random.RandomState(0)
    batches = [workload.batch(rng) for _ in range(args.steps)]
    n_tokens = sum(len(batch.targets) for batch in batches)
    n_captions = args.batch_size * args.steps
    programs = {'ours': Ours(workload, device), 'Chainer loop': ChainerLoop(workload, device)}
    if has_torch(device):
        programs['PyTorch'] = Torch(workload, device)
    prepared = {
        name: [program.prepare(batch) for batch in batches] for name, program in programs.items()
    }
    for name, program in programs.items():
        program.train(prepared[name])  # the first steps allocate, compile and plan

    rates = {name: [] for name in ('sgemm bound', *programs)}
    flops = workload.flops(n_tokens, n_captions)
    for _ in range(args.rounds):
        rates['sgemm bound'].append(measure_sgemm(device) / flops * n_tokens)
        for name, program in programs.items():
            seconds, _ = seconds_of(device, program.train, prepared[name])
            rates[name].append(n_tokens / seconds)

    print(f'{"":<14}{"tokens/s":>12}{"speed-up":>10}{"of bound":>10}{"COCO epoch":>12}')
    for name, values in rates.items():
        speed_up = numpy.median(numpy.array(rates['ours']) / values)
        share = numpy.median(numpy.array(values) / rates['sgemm bound'])
        epoch = COCO_CAPTIONS / n_captions * n_tokens / numpy.median(values)
        print(
            f'{name:<14}{numpy.median(values):>12,.0f}{speed_up:>8.2f} x{share:>10.0%}'
            f'{epoch:>10,.1f} s'
        )
    print(
        f'speed-up: of ours over this one; bound: {flops / n_tokens / 1e6:.1f} MFLOP per token '
        'at the rate of large matrix products'
    )
    programs['ours'].print_parts(prepared['ours'])


class Ours:
    def __init__(self, workload, device):
        self._device = device
        self._model = ShowAndTell(
            FEATURE_SIZE, workload.vocabulary_size, workload.size, workload.size
        )
        self._model.to_device(device)
        self._optimizer = Adam().setup(self._model)

    def prepare(self, batch):
        """Sends a batch to the device."""
        features, inputs, targets = self._device.send((batch.features, batch.inputs, batch.targets))
        return batch._replace(features=features, inputs=inputs, targets=targets)

    def train(self, batches):
        for batch in batches:
            self._optimizer.update(self._model, batch)

    def print_parts(self, batches):
        """Prints the shares of forward pass, backward pass and update in a step."""
        times = numpy.zeros((len(batches), 3))
        for row, batch in zip(times, batches):
            moments = [self._moment()]
            loss = self._model(batch)
            moments.append(self._moment())
            self._model.cleargrads()
            loss.backward()
            moments.append(self._moment())
            self._optimizer.update()
            moments.append(self._moment())
            row[:] = numpy.diff(moments)
        shares = numpy.median(times, axis=0) / numpy.median(times, axis=0).sum()
        parts = zip(('forward', 'backward', 'update'), shares)
        print('our step: ' + ', '.join(f'{name} {share:.0%}' for name, share in parts))

    def _moment(self):
        seconds_of(self._device, int)  # waits for the device
        return time.perf_counter()


class ChainerLoop:
    def __init__(self, workload, device):
        self._device = device
        self._model = PlainChainer(FEATURE_SIZE, workload.vocabulary_size, workload.size)
        self._model.to_device(device)
        self._optimizer = chainer.optimizers.Adam().setup(self._model)

    def prepare(self, batch):
        padded = (pad(packed, batch.captions_per_step) for packed in (batch.inputs, batch.targets))
        return self._device.send((batch.features, *padded))

    def train(self, batches):
        for arrays in batches:
            self._optimizer.update(self._model, *arrays)


def pad(packed, captions_per_step):
    """Converts packed tokens to (steps, B), with -1 where a caption has ended."""
    padded = numpy.full((len(captions_per_step), captions_per_step[0]), -1, 'int32')
    padded[numpy.arange(captions_per_step[0]) < numpy.array(captions_per_step)[:, None]] = packed
    return padded


class Torch:
    def __init__(self, workload, device):
        import torch

        from benchmarks.plain_torch import PlainTorch, torch_device

        self._device = torch_device(device)
        self._model = PlainTorch(FEATURE_SIZE, workload.vocabulary_size, workload.size).to(
            self._device
        )
        self._optimizer = torch.optim.Adam(self._model.parameters())

    def prepare(self, batch):
        import torch

        tensors = (
            torch.from_numpy(batch.features),
            torch.from_numpy(batch.inputs).long(),
            torch.from_numpy(batch.targets).long(),
        )
        return *(tensor.to(self._device) for tensor in tensors), batch.captions_per_step

    def train(self, batches):
        for batch in batches:
            self._optimizer.zero_grad()
            self._model(*batch).backward()
            self._optimizer.step()


if __name__ == '__main__':
    run_main(main)
