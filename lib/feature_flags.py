"""The flags of the scripts that make features from photographs."""

import dataclasses
import os
import sys

from lib.command_line import positive_int
from lib.feature_extractor import FeatureExtractor
from lib.features import FeatureSource

VGG19 = FeatureSource(network='VGG_ILSVRC_19_layers.caffemodel', layer='fc7', image_size=224,
                      mean=[103.939, 116.779, 123.68], resize='warp')


def add_feature_flags(parser, otherwise):
    """Adds flags that say how features are made; those that are not given are None.

    Args:
        parser (lib.command_line.ArgumentParser): Gets the flags.
        otherwise (str): Says in ``--help`` what holds for a flag that is not given.
    """
    group = parser.add_argument_group('features', otherwise)
    group.add_argument('--layer', help='layer to take, by the name of its output')
    group.add_argument('--image-size', type=positive_int, metavar='N',
                       help="side of the network's input in pixels")
    group.add_argument('--mean', type=float, nargs=3, metavar=('B', 'G', 'R'),
                       help='subtracted from the pixels')
    group.add_argument('--resize', choices=['warp', 'crop'],
                       help='warp squeezes the whole picture, crop cuts out the centre')
    group.add_argument('--batch-size', type=positive_int, metavar='N',
                       help='pictures in the convolutions at once, which their memory grows with; '
                            'if not given, 4 on the CPU and 32 on a GPU')


def make_extractor(args, device, trained_on=None):
    """Builds what turns photographs into features, as the flags say.

    Notes on standard error where a flag disagrees with how a model was trained.

    Args:
        args (argparse.Namespace): The flags, and the caffemodel as ``image``.
        device (chainer.backend.Device): Where to compute.
        trained_on (FeatureSource): How the features of the model were made, if known.

    Returns:
        tuple: The :class:`FeatureExtractor` and its :class:`FeatureSource`.
    """
    given = {name: getattr(args, name) for name in ('layer', 'image_size', 'mean', 'resize')
             if getattr(args, name) is not None}
    source = dataclasses.replace(
        trained_on or VGG19, network=os.path.basename(args.image), **given)
    batch_size = args.batch_size or (4 if args.gpu < 0 else 32)
    extractor = FeatureExtractor(args.image, source, device, batch_size)
    for name, trained in vars(trained_on or source).items():
        used = getattr(source, name)
        if used != trained:
            print(f'note: {name.replace("_", " ")} {used} is used, but the model was trained '
                  f'with {trained}', file=sys.stderr)
    return extractor, source
