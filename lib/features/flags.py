"""The flags for features: the files they are in, and how they are extracted."""

from lib.cli.parser import number
from lib.features.feature_source import AUGMENTATIONS, COMBINATIONS, POOLING_MODES, RESIZE_MODES


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
        help='caffemodel, such as VGG_ILSVRC_19_layers.caffemodel',
    )
    group.add_argument(
        '--layer',
        nargs='+',
        metavar='NAME',
        help='blob whose values are the features, such as fc7; several are concatenated',
    )
    group.add_argument(
        '--image-size',
        type=number(int, low=1),
        metavar='N',
        help="width and height of the network's input, pixels",
    )
    group.add_argument(
        '--mean',
        type=float,
        nargs=3,
        metavar=('B', 'G', 'R'),
        help='values subtracted from blue, green and red',
    )
    group.add_argument(
        '--resize',
        choices=RESIZE_MODES,
        help='warp: resize the whole image to a square; crop: resize its shorter side and crop '
        'the center',
    )
    group.add_argument(
        '--pool',
        choices=POOLING_MODES,
        help='take the average or the maximum of blobs with height and width; none takes all of '
        'their values',
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
        help='images per pass through the convolutions; more need more memory; unless given, 4 on '
        'the CPU and 32 on a GPU',
    )


def extraction_options(args):
    """Returns the flags as keywords of :meth:`lib.features.extractor.FeatureExtractor.load`."""
    names = 'layer', 'image_size', 'mean', 'resize', 'pool', 'augment', 'batch_size'
    return {name: getattr(args, name) for name in names}
