"""Captions images in the browser: a page, and a JSON API beneath it."""

from PIL import Image

from lib.captioner import Captioner
from lib.cli.parser import ArgumentParser, add_device_flags, add_seed_flag, number
from lib.cli.run import run_main
from lib.decoding.flags import add_models_flag
from lib.device import set_seed
from lib.features.flags import add_extraction_flags, extraction_options
from lib.serving.app import find_samples, make_app
from lib.serving.requests import Limits
from lib.serving.server import names_of_host, serve
from lib.serving.worker import CaptionWorker


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flags(parser)
    add_models_flag(parser)
    parser.add_argument(
        '--index',
        metavar='FILE',
        help='from index_captions.py: rank captions by those of similar images by default',
    )
    add_seed_flag(parser, 'drawing captions')
    group = parser.add_argument_group('server')
    group.add_argument(
        '--host',
        default='127.0.0.1',
        metavar='ADDRESS',
        help='address to listen at; 127.0.0.1 is for this machine alone, 0.0.0.0 for all networks',
    )
    group.add_argument(
        '--port',
        type=number(int, low=0, high=65535),
        default=8090,
        metavar='N',
        help='port to listen at; 0 is any free one',
    )
    group.add_argument(
        '--samples', metavar='FOLDER', help='folder whose first eight images the page offers to try'
    )
    for flag, default, high, description in (
        ('--max-image-bytes', Limits.image_bytes, None, 'bytes of an image file'),
        ('--max-image-pixels', Limits.image_pixels, None, 'pixels of an image'),
        ('--max-images', Limits.images, None, 'images in a request'),
        # Each has a thread.
        ('--max-requests', Limits.requests, 256, 'requests that are answered at the same time'),
    ):
        group.add_argument(
            flag,
            type=number(int, low=1, high=high),
            default=default,
            metavar='N',
            help=f'most {description}',
        )
    add_extraction_flags(
        parser,
        "By default features are extracted like the model's, or, if the model does not record "
        "how, like Karpathy's with VGG19's fc7; docs/data.md has the defaults of ONNX models.",
    )
    return parser.parse_args()


def main():
    args = parse_args()
    hosts = names_of_host(args.host)
    samples = find_samples(args.samples) if args.samples else []
    captioner = Captioner.load(
        args.model, args.cnn, args.gpu, args.tf32, args.index, **extraction_options(args)
    )
    set_seed(args.seed)
    # Files that do not fit together are found out now, not by the first request.
    captioner(Image.new('RGB', (64, 64), 'gray'), beam_width=2)
    limits = Limits(args.max_image_bytes, args.max_image_pixels, args.max_images, args.max_requests)
    app = make_app(CaptionWorker(captioner), limits, samples, hosts)
    serve(app, args.host, args.port, limits)


if __name__ == '__main__':
    run_main(main)
