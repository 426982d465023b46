"""The flags for features: the files they are in, and how they are extracted."""

from lib.cli.parser import number
from lib.features.feature_source import (
    AUGMENTATIONS,
    CHANNELS,
    COMBINATIONS,
    INTERPOLATIONS,
    POOLING_MODES,
    PREPARATIONS,
    RESIZE_MODES,
)


def add_data_flags(parser):
    """Adds the files of a data set, captions and features."""
    parser.add_argument(
        '-s',
        '--captions',
        '--sentence',
        default='captions.h5',
        metavar='FILE',
        help='captions, from preprocess_vocab.py',
    )
    parser.add_argument(
        '-i',
        '--features',
        '--image',
        nargs='+',
        default=['vgg_feats.mat'],
        metavar='FILE',
        help="image features: Karpathy's, from extract_features.py, or of other programs in .npy, "
        '.npz or HDF5; several files follow one another, unless they name their images',
    )
    parser.add_argument(
        '--combine',
        choices=COMBINATIONS,
        help='where several files have features of the same images: concatenate or average the '
        'vectors of each image',
    )


def add_extraction_flags(parser, defaults):
    """Adds the CNN, and how it extracts features; flags that are not given are None.

    Args:
        parser (lib.cli.parser.ArgumentParser): Parser to add them to.
        defaults (str): What applies where a flag is not given, for ``--help``.
    """
    group = parser.add_argument_group('features', defaults)
    group.add_argument(
        '-i',
        '--cnn',
        '--image',
        required=True,
        metavar='FILE',
        help='CNN: an ONNX model (.onnx), or a caffemodel such as VGG_ILSVRC_19_layers.caffemodel',
    )
    group.add_argument(
        '--layer',
        nargs='+',
        metavar='NAME',
        help='blob or tensor whose values are the features, such as fc7; several are concatenated; '
        'of an ONNX model, by default its output or the input of the last fully connected layer',
    )
    group.add_argument(
        '--image-size',
        type=number(int, low=1),
        metavar='N',
        help="width and height of the network's input, pixels",
    )
    group.add_argument(
        '--preparation',
        choices=PREPARATIONS,
        help='channels, mean, standard deviation and interpolation of well-known networks',
    )
    group.add_argument('--channels', choices=CHANNELS, help="order of the network's channels")
    group.add_argument(
        '--mean',
        type=float,
        nargs=3,
        metavar=('C1', 'C2', 'C3'),
        help='values subtracted from the channels, from 0 to 255',
    )
    group.add_argument(
        '--std', type=float, nargs=3, metavar=('C1', 'C2', 'C3'), help='divisors of the channels'
    )
    group.add_argument('--interpolation', choices=INTERPOLATIONS, help='how to resize images')
    group.add_argument(
        '--resize',
        choices=RESIZE_MODES,
        help='warp: resize the whole image to a square; crop: resize its shorter side and crop '
        'the center',
    )
    group.add_argument(
        '--pool',
        choices=POOLING_MODES,
        help='average or maximum over height and width, or over the tokens of a transformer; '
        'first: the first token; none: all values',
    )
    group.add_argument(
        '--augment',
        choices=AUGMENTATIONS,
        help='flip: average the features of the image and its mirror image',
    )
    group.add_argument(
        '--batch-size',
        type=number(int, low=1),
        metavar='N',
        help='images that the network takes at once; unless given, 8 on the CPU and 16 on a GPU',
    )


def extraction_options(args):
    """Returns the flags as keywords of :meth:`lib.features.extractor.FeatureExtractor.load`."""
    names = (
        'layer', 'image_size', 'preparation', 'channels', 'mean', 'std', 'interpolation', 'resize',
        'pool', 'augment', 'batch_size',
    )  # fmt: skip
    return {name: getattr(args, name) for name in names}
