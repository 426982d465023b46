"""Flags that scripts share."""

from lib.cli.parser import number
from lib.processes import COMMUNICATORS


def add_device_flags(parser):
    parser.add_argument(
        '-g', '--gpu', type=int, default=-1, metavar='N', help='CUDA device number; -1 is the CPU'
    )
    parser.add_argument(
        '--tf32',
        action='store_true',
        help='faster, less precise products on Ampere and later GPUs (TensorFloat-32)',
    )


def add_communicator_flag(parser):
    parser.add_argument_group('several processes').add_argument(
        '--communicator',
        choices=COMMUNICATORS,
        help='connect the processes that mpiexec has started: naive for CPUs, flat or pure_nccl '
        'for GPUs; see docs/scaling.md',
    )


def add_seed_flag(parser, used_for):
    parser.add_argument(
        '--seed',
        type=number(int, low=0, high=2**32 - 1),
        default=0,
        metavar='N',
        help=f'random seed for {used_for}',
    )
