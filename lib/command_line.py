"""What all scripts share: flags, the device, exit codes."""

import argparse
import os
import sys

from lib.errors import InputError

import chainer
import numpy


class ArgumentParser(argparse.ArgumentParser):
    """A parser that shows defaults in ``--help`` and fails with one line."""

    def __init__(self, description):
        super().__init__(description=description, allow_abbrev=False,
                         formatter_class=argparse.ArgumentDefaultsHelpFormatter)

    def error(self, message):
        raise InputError(f'{message} (see --help)')


def add_device_flag(parser):
    parser.add_argument('-g', '--gpu', type=int, default=-1, metavar='N',
                        help='CUDA device number; -1 is the CPU')


def select_device(gpu, tf32=False):
    """Makes the device of ``--gpu`` current.

    Args:
        gpu (int): CUDA device number, negative for the CPU.
        tf32 (bool): Let matrix products of float32 round their factors to TensorFloat-32, 10
            bits of mantissa, for several times the speed.

    Returns:
        chainer.backend.Device: The device.

    Raises:
        InputError: If there is no such GPU, or TensorFloat-32 is wanted on the CPU.
    """
    if tf32 and gpu < 0:
        raise InputError('--tf32: only GPUs have TensorFloat-32; choose one with --gpu')
    if tf32:
        # CuPy looks at this when it multiplies for the first time.
        os.environ['CUPY_TF32'] = '1'
    if gpu < 0:
        device = chainer.get_device('@numpy')
    else:
        try:
            device = chainer.get_device(f'@cupy:{gpu}')
            device.use()
            device.xp.zeros(1)
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f'--gpu {gpu}: this GPU cannot be used ({reason}); -1 is the CPU; '
                             '"make setup CUDA=13" installs CuPy') from error
    device.use()
    return device


def seed_everything(value, device):
    """Seeds NumPy's random numbers and, on a GPU, CuPy's."""
    numpy.random.seed(value)
    if device.xp is not numpy:
        device.xp.random.seed(value)


def positive_int(text):
    return _checked(int, text, lambda value: value >= 1, 'a whole number of 1 or more')


def non_negative_int(text):
    return _checked(int, text, lambda value: value >= 0, 'a whole number of 0 or more')


def seed(text):
    return _checked(int, text, lambda value: 0 <= value < 2 ** 32,
                    'a whole number from 0 to 4294967295')


def positive_float(text):
    return _checked(float, text, lambda value: 0 < value < float('inf'), 'a number above 0')


def non_negative_float(text):
    return _checked(float, text, lambda value: 0 <= value < float('inf'), 'a number of 0 or more')


def share(text):
    return _checked(float, text, lambda value: 0 <= value < 1, 'a number from 0 up to, not with, 1')


def _checked(convert, text, is_good, wanted):
    try:
        value = convert(text)
    except ValueError:
        value = None
    if value is None or not is_good(value):
        raise argparse.ArgumentTypeError(f'{text!r} is not {wanted}')
    return value


def run(main):
    """Runs a script's ``main`` and exits: 0 or its result, 2 for wrong input."""
    for stream in sys.stdout, sys.stderr:
        # File names need not be text that the terminal can show.
        stream.reconfigure(errors='backslashreplace')
    try:
        status = main()
        sys.stdout.flush()
    except InputError as error:
        status = _fail(str(error))
    except BrokenPipeError:
        # The reader of our output, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        # Disks fill up and folders are read-only; h5py leaves out the file's name.
        status = _fail(f'{error.filename}: {error.strerror}' if error.filename else str(error))
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _fail(message):
    print('error:', ' '.join(message.split()), file=sys.stderr)
    return 2
