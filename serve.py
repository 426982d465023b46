"""Captions images in the browser: a page, and a JSON API beneath it."""

import logging

import waitress
from PIL import Image

from lib.captioner import Captioner
from lib.cli.parser import ArgumentParser, add_device_flags, add_seed_flag, number
from lib.cli.run import run_main
from lib.decoding.flags import add_models_flag
from lib.device import set_seed
from lib.errors import InputError
from lib.features.flags import add_extraction_flags, extraction_options
from lib.serving.app import MAX_REQUEST_BYTES, find_samples, make_app

# The names under which a server for this machine alone is reached.
LOCAL_HOSTS = ['127.0.0.1', 'localhost', '[::1]']
# It would warn of every request that waits for a moment.
logging.getLogger('waitress.queue').setLevel(logging.ERROR)


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
    add_extraction_flags(
        parser,
        "By default features are extracted like the model's, or, if the model does not record "
        "how, like Karpathy's with VGG19's fc7; docs/data.md has the defaults of ONNX models.",
    )
    return parser.parse_args()


def main():
    args = parse_args()
    samples = find_samples(args.samples) if args.samples else []
    captioner = Captioner.load(
        args.model, args.cnn, args.gpu, args.tf32, args.index, **extraction_options(args)
    )
    set_seed(args.seed)
    # Files that do not fit together are found out now, not by the first request.
    captioner(Image.new('RGB', (64, 64), 'gray'), beam_width=2)
    name = f'[{args.host}]' if ':' in args.host else args.host.lower()
    app = make_app(captioner, samples, LOCAL_HOSTS if name in LOCAL_HOSTS else None)
    try:
        server = waitress.create_server(
            app,
            host=args.host,
            port=args.port,
            threads=16,  # so that the page loads while images wait
            max_request_body_size=MAX_REQUEST_BYTES,
            ident=None,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise InputError(f'cannot listen at {args.host}, port {args.port}: {reason}') from error
    # The names of some hosts stand for several addresses.
    _, port = (getattr(server, 'effective_listen', None) or [(None, server.effective_port)])[0]
    print(f'serving at http://{name}:{port}', flush=True)
    server.run()  # until Ctrl-C or a signal


if __name__ == '__main__':
    run_main(main)
