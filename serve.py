"""Captions images in the browser: a page, and a JSON API beneath it."""

import ipaddress
import socket
import threading
import time

import waitress
from PIL import Image
from waitress.channel import HTTPChannel

from lib.captioner import Captioner
from lib.cli.flags import add_device_flags, add_seed_flag
from lib.cli.parser import ArgumentParser, number
from lib.cli.run import run_main
from lib.decoding.flags import add_models_flag
from lib.decoding.options import DecodingOptions
from lib.device import set_seed
from lib.errors import InputError
from lib.features.flags import add_extraction_flags, extraction_options
from lib.serving.app import Limits, make_app
from lib.serving.samples import load_samples
from lib.serving.worker import CaptionWorker

# Threads beyond those of requests that are captioned: for the page, and to refuse requests.
MORE_THREADS = 4
# Connections beyond those of the requests that are answered: of clients that are still sending, or
# that keep a connection open, as browsers do.
MORE_CONNECTIONS = 96
# Seconds without a request or data after which a connection is closed.
IDLE_TIME = 15
# Requests at the same time: each has a thread.
MAX_REQUESTS = 256
# Seconds to finish what is running when the server is told to stop.
DRAIN_TIME = 60


def parse_args():
    parser = ArgumentParser(__doc__)
    add_device_flags(parser)
    add_models_flag(parser)
    parser.add_argument(
        '--index',
        metavar='FILE',
        help='from index_captions.py: minimum Bayes risk uses the captions of similar images '
        'instead of samples',
    )
    add_seed_flag(parser, 'sampling and minimum Bayes risk')
    group = parser.add_argument_group('server')
    group.add_argument(
        '--host',
        default='127.0.0.1',
        metavar='ADDRESS',
        help='address to listen at; 127.0.0.1 is for this machine alone, 0.0.0.0 for all networks',
    )
    group.add_argument(
        '--port', type=int, default=8090, metavar='N', help='port to listen at; 0 is any free one'
    )
    group.add_argument(
        '--samples', metavar='FOLDER', help='folder whose first eight images the page offers to try'
    )
    defaults = Limits()
    for flag, default, description in (
        ('--max-image-bytes', defaults.image_bytes, 'bytes of an image file'),
        ('--max-image-pixels', defaults.image_pixels, 'pixels of an image'),
        ('--max-images', defaults.images, 'images in a request'),
        ('--max-requests', defaults.requests, 'requests that are answered at the same time'),
    ):
        group.add_argument(
            flag, type=number(int, low=1), default=default, metavar='N', help=f'most {description}'
        )
    add_extraction_flags(
        parser,
        "By default features are extracted like the model's, or, if the model does not record "
        "how, like Karpathy's with VGG19.",
    )
    return parser.parse_args()


def main():
    args = parse_args()
    if not 0 <= args.port < 2**16:
        raise InputError(f'--port {args.port}: is not from 0 to 65535')
    if args.max_requests > MAX_REQUESTS:
        raise InputError(f'--max-requests {args.max_requests}: is more than {MAX_REQUESTS}')
    samples = load_samples(args.samples) if args.samples else []
    captioner = Captioner.load(
        args.model, args.cnn, args.gpu, args.tf32, args.index, **extraction_options(args)
    )
    set_seed(args.seed)
    try_out(captioner)
    limits = Limits(args.max_image_bytes, args.max_image_pixels, args.max_images, args.max_requests)
    app = make_app(CaptionWorker(captioner), limits, samples, trusted_hosts(args.host))
    serve(app, args.host, args.port, limits)
    return 0


def try_out(captioner):
    """Captions an image, so that files that do not fit together are found out now."""
    pixels = captioner.prepare(Image.new('RGB', (64, 64), 'gray'))
    options = DecodingOptions.with_defaults(captioner.has_index, beam_width=2)
    captioner.caption_prepared([pixels], options)


def trusted_hosts(host):
    """Returns under which names a server for this machine alone is reached, otherwise None."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise InputError(f'--host {host}: {error.strerror or error}') from error
    is_local = all(ipaddress.ip_address(address).is_loopback for address in addresses)
    return {'localhost', '127.0.0.1', '::1', host.lower(), *addresses} if is_local else None


def serve(app, host, port, limits):
    """Answers requests until a signal comes, and then finishes those that are being answered."""
    sockets = {}
    try:
        server = waitress.create_server(
            app,
            map=sockets,
            host=host,
            port=port,
            threads=limits.requests + MORE_THREADS,
            connection_limit=limits.requests + MORE_CONNECTIONS,
            channel_timeout=IDLE_TIME,
            cleanup_interval=IDLE_TIME // 3,
            asyncore_use_poll=True,  # select() fails with more than a thousand files
            max_request_body_size=limits.request_bytes,
            # What is larger would be written to the disk.
            inbuf_overflow=limits.request_bytes + 1,
            outbuf_overflow=limits.request_bytes + 1,
            ident=None,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise InputError(f'cannot listen at {host}, port {port}: {reason}') from error
    thread = threading.Thread(target=server.run, name='connections', daemon=True)
    thread.start()
    try:
        for name, number in addresses_of(server):
            print(f'serving at http://{name}:{number}', flush=True)
        thread.join()
        raise RuntimeError('the thread of the connections has ended')
    except (KeyboardInterrupt, SystemExit):
        app.extensions['requests'].drain(DRAIN_TIME)
        wait_until_sent(sockets)


def addresses_of(server):
    """Returns the names and ports under which a server can be reached."""
    listen = getattr(server, 'effective_listen', None)
    listen = listen or [(server.effective_host, server.effective_port)]
    return [(f'[{host}]' if ':' in host else host, port) for host, port in listen]


def wait_until_sent(sockets, seconds=5):
    """Waits until the answers have been sent, or clients do not take them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        channels = (item for item in list(sockets.values()) if isinstance(item, HTTPChannel))
        if not any(channel.requests or channel.total_outbufs_len for channel in channels):
            return
        time.sleep(0.01)


if __name__ == '__main__':
    run_main(main)
