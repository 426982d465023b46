"""Training steps a second: ours, a Chainer loop over time steps, and PyTorch.

    python -m benchmarks.training_step [--gpu 0] [--batch-size 128]

The three run in turn, several rounds, in one process; rates are tokens a second, and
ratios are medians over the rounds.
"""

import time

from benchmarks.plain_chainer import PlainChainer
from benchmarks.workload import (
    COCO_CAPTIONS,
    FEATURE_SIZE,
    Workload,
    measure_sgemm,
    seconds_of,
)
from lib.adam import Adam
from lib.command_line import ArgumentParser, add_device_flag, positive_int, run, select_device
from models.show_and_tell import ShowAndTell

import chainer
import numpy


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_device_flag(parser)
    parser.add_argument('--rounds', type=positive_int, default=5, help='how often each one runs')
    parser.add_argument('--steps', type=positive_int, default=6, help='training steps in a round')
    parser.add_argument('--batch-size', type=positive_int, default=128, help='captions a step')
    return parser.parse_args()


def main():
    args = parse_args()
    device = select_device(args.gpu)
    workload = Workload(args.batch_size)
    rng = numpy.random.RandomState(0)
    batches = [workload.minibatch(rng) for _ in range(args.steps)]
    n_tokens, n_captions = sum(len(batch[1]) for batch in batches), args.batch_size * args.steps
    programs = {'ours': Ours(workload, device), 'Chainer loop': ChainerLoop(workload, device),
                'PyTorch': Torch(workload, device)}
    prepared = {name: [program.prepare(*batch) for batch in batches]
                for name, program in programs.items()}
    for name, program in programs.items():
        program.steps(prepared[name])    # the first steps allocate, compile and plan

    rates = {name: [] for name in ('sgemm bound', *programs)}
    flops = workload.flops(n_tokens, n_captions)
    for _ in range(args.rounds):
        rates['sgemm bound'].append(measure_sgemm(device) / flops * n_tokens)
        for name, program in programs.items():
            rates[name].append(n_tokens / seconds_of(device, program.steps, prepared[name]))

    print(f'{"":<14}{"tokens/s":>12}{"ours is":>10}{"of bound":>10}{"COCO epoch":>12}')
    for name, values in rates.items():
        ratio = numpy.median(numpy.array(rates['ours']) / values)
        share = numpy.median(numpy.array(values) / rates['sgemm bound'])
        epoch = COCO_CAPTIONS / n_captions * n_tokens / numpy.median(values)
        print(f'{name:<14}{numpy.median(values):>12,.0f}{ratio:>8.2f} x{share:>10.0%}'
              f'{epoch:>10,.1f} s')
    print(f'bound: {flops / n_tokens / 1e6:.1f} MFLOP a token')
    programs['ours'].print_parts(prepared['ours'])


class Ours:
    def __init__(self, workload, device):
        self.device = device
        self.model = ShowAndTell(FEATURE_SIZE, workload.vocabulary_size, workload.size,
                                 workload.size)
        self.model.to_device(device)
        self.optimizer = Adam().setup(self.model)

    def prepare(self, *batch):
        """Brings a minibatch to the device."""
        return tuple(self.device.send(part) for part in batch[:3]), batch[3]

    def steps(self, batches):
        for arrays, batch_sizes in batches:
            self.optimizer.update(self.model, *arrays, batch_sizes)

    def print_parts(self, batches):
        """Prints where the time of a step goes."""
        times = numpy.zeros((len(batches), 3))
        for row, (arrays, batch_sizes) in zip(times, batches):
            moments = [self._moment()]
            loss = self.model(*arrays, batch_sizes)
            moments.append(self._moment())
            self.model.cleargrads()
            loss.backward()
            moments.append(self._moment())
            self.optimizer.update()
            moments.append(self._moment())
            row[:] = numpy.diff(moments)
        parts = numpy.median(times, axis=0) / numpy.median(times, axis=0).sum()
        print('a step of ours: ' + ', '.join(
            f'{name} {part:.0%}' for name, part in zip(('forward', 'backward', 'update'), parts)))

    def _moment(self):
        seconds_of(self.device, int)    # waits for the device
        return time.perf_counter()


class ChainerLoop:
    def __init__(self, workload, device):
        self.device = device
        self.model = PlainChainer(FEATURE_SIZE, workload.vocabulary_size, workload.size)
        self.model.to_device(device)
        self.optimizer = chainer.optimizers.Adam().setup(self.model)

    def prepare(self, features, inputs, targets, batch_sizes):
        return tuple(self.device.send(part) for part in (
            features, pad(inputs, batch_sizes), pad(targets, batch_sizes)))

    def steps(self, batches):
        for arrays in batches:
            self.optimizer.update(self.model, *arrays)


def pad(packed, batch_sizes):
    """Turns packed words into (steps, B), with -1 where a caption has ended."""
    padded = numpy.full((len(batch_sizes), batch_sizes[0]), -1, 'int32')
    padded[numpy.arange(batch_sizes[0]) < numpy.array(batch_sizes)[:, None]] = packed
    return padded


class Torch:
    def __init__(self, workload, device):
        from benchmarks.plain_torch import PlainTorch, torch_device

        import torch
        self.device = torch_device(device)
        self.model = PlainTorch(FEATURE_SIZE, workload.vocabulary_size, workload.size).to(
            self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def prepare(self, features, inputs, targets, batch_sizes):
        import torch
        return (torch.from_numpy(features).to(self.device),
                torch.from_numpy(inputs).long().to(self.device),
                torch.from_numpy(targets).long().to(self.device), batch_sizes)

    def steps(self, batches):
        for batch in batches:
            self.optimizer.zero_grad()
            self.model(*batch).backward()
            self.optimizer.step()


if __name__ == '__main__':
    run(main)
