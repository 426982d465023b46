"""Training steps a second on the CPU: ours, a Chainer loop over time steps, and PyTorch.

    python -m benchmarks.training_step

The three run in turn, several rounds, in one process; rates are tokens a second, and
ratios are medians over the rounds.
"""

import time

from benchmarks.plain_chainer import PlainChainer
from benchmarks.workload import (
    FEATURE_SIZE,
    SIZE,
    VOCABULARY_SIZE,
    flops_per_token,
    make_minibatch,
    measure_sgemm,
)
from lib.adam import Adam
from lib.command_line import ArgumentParser, positive_int, run
from models.show_and_tell import ShowAndTell

import chainer
import numpy


def parse_args():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=positive_int, default=5, help='how often each one runs')
    parser.add_argument('--steps', type=positive_int, default=6, help='training steps in a round')
    parser.add_argument('--batch-size', type=positive_int, default=128, help='captions a step')
    return parser.parse_args()


def main():
    args = parse_args()
    rng = numpy.random.RandomState(0)
    batches = [make_minibatch(rng, args.batch_size) for _ in range(args.steps)]
    n_tokens = sum(len(batch[1]) for batch in batches)
    programs = {'ours': Ours(), 'Chainer loop': ChainerLoop(), 'PyTorch': Torch()}
    for program in programs.values():
        program.step(*batches[0])    # the first step allocates and, in PyTorch, plans

    rates = {name: [] for name in ('sgemm bound', *programs)}
    bound_flops = flops_per_token(n_tokens, args.batch_size * args.steps)
    for _ in range(args.rounds):
        rates['sgemm bound'].append(measure_sgemm() / bound_flops)
        for name, program in programs.items():
            start = time.perf_counter()
            for batch in batches:
                program.step(*batch)
            rates[name].append(n_tokens / (time.perf_counter() - start))

    print(f'{"":<14}{"tokens/s":>10}{"ours is":>12}{"of bound":>10}')
    for name, values in rates.items():
        ratio = numpy.median(numpy.array(rates['ours']) / values)
        share = numpy.median(numpy.array(values) / rates['sgemm bound'])
        print(f'{name:<14}{numpy.median(values):>10,.0f}{ratio:>10.2f} x{share:>10.0%}')
    print(f'bound: {bound_flops / 1e6:.1f} MFLOP a token')
    programs['ours'].print_parts(batches)


class Ours:
    def __init__(self):
        self.model = ShowAndTell(FEATURE_SIZE, VOCABULARY_SIZE, SIZE, SIZE)
        self.optimizer = Adam().setup(self.model)

    def step(self, *batch):
        self.optimizer.update(self.model, *batch)

    def print_parts(self, batches):
        """Prints where the time of a step goes."""
        times = numpy.zeros((len(batches), 3))
        for row, batch in zip(times, batches):
            moments = [time.perf_counter()]
            loss = self.model(*batch)
            moments.append(time.perf_counter())
            self.model.cleargrads()
            loss.backward()
            moments.append(time.perf_counter())
            self.optimizer.update()
            moments.append(time.perf_counter())
            row[:] = numpy.diff(moments)
        parts = numpy.median(times, axis=0) / numpy.median(times, axis=0).sum()
        print('a step of ours: ' + ', '.join(
            f'{name} {part:.0%}' for name, part in zip(('forward', 'backward', 'update'), parts)))


class ChainerLoop:
    def __init__(self):
        self.model = PlainChainer(FEATURE_SIZE, VOCABULARY_SIZE, SIZE)
        self.optimizer = chainer.optimizers.Adam().setup(self.model)

    def step(self, features, inputs, targets, batch_sizes):
        self.optimizer.update(self.model, features, pad(inputs, batch_sizes),
                              pad(targets, batch_sizes))


def pad(packed, batch_sizes):
    """Turns packed words into (steps, B), with -1 where a caption has ended."""
    padded = numpy.full((len(batch_sizes), batch_sizes[0]), -1, 'int32')
    padded[numpy.arange(batch_sizes[0]) < numpy.array(batch_sizes)[:, None]] = packed
    return padded


class Torch:
    def __init__(self):
        from benchmarks.plain_torch import PlainTorch

        import torch
        self.model = PlainTorch(FEATURE_SIZE, VOCABULARY_SIZE, SIZE)
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def step(self, features, inputs, targets, batch_sizes):
        import torch
        self.optimizer.zero_grad()
        loss = self.model(torch.from_numpy(features), torch.from_numpy(inputs).long(),
                          torch.from_numpy(targets).long(), batch_sizes)
        loss.backward()
        self.optimizer.step()


if __name__ == '__main__':
    run(main)
