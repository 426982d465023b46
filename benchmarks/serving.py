"""Throughput and latency of the server, beside generate_caption.py on the same images.

    python -m benchmarks.serving IMAGE_OR_FOLDER ... -m best.h5 -i net.caffemodel [--layer ...]

Each client sends one image after the other, over a connection that stays open.
"""

import http.client
import itertools
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lib.cli.parser import ArgumentParser, number
from lib.cli.run import run_main
from lib.features.image_paths import find_images
from tests.helpers.scripts import run_script
from tests.helpers.server import encode_form, serving

CLIENTS = 1, 4, 16


def main():
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument('images', nargs='+', metavar='IMAGE_OR_FOLDER', help='images to caption')
    parser.add_argument(
        '--requests',
        type=number(int, low=1),
        default=192,
        metavar='N',
        help='images of a measurement',
    )
    args, flags = parser.parse_known_args()  # the others are those of serve.py
    paths = list(itertools.islice(itertools.cycle(find_images(args.images)), args.requests))
    print(f'{"":>22}{"images/s":>10}{"median":>10}{"95 %":>10}{"longest":>10}')
    seconds = seconds_of_script(paths, flags)
    print(f'{"generate_caption.py":>22}{len(paths) / seconds:>10.1f}', flush=True)
    forms = [encode_form([Path(path)], {}) for path in paths]
    with serving(*flags) as server:
        for n_clients in CLIENTS:
            seconds, latencies = measure(server, forms, n_clients)
            times = (
                f'{1000 * seconds:>7,.0f} ms'
                for seconds in (
                    statistics.median(latencies),
                    statistics.quantiles(latencies, n=20)[-1],
                    max(latencies),
                )
            )
            name = f'{n_clients} client{"s" if n_clients > 1 else ""}'
            print(f'{name:>22}{len(paths) / seconds:>10.1f}{"".join(times)}', flush=True)


def seconds_of_script(paths, flags):
    """Returns the time that images take beyond that of a single one, which is mostly loading."""
    seconds = []
    for images in paths[:1], paths:
        with tempfile.NamedTemporaryFile('w', suffix='.txt') as file:
            file.write('\n'.join(images))
            file.flush()
            start = time.perf_counter()
            process = run_script('generate_caption.py', *flags, '-l', file.name, forked=False)
            seconds.append(time.perf_counter() - start)
        if process.returncode:
            sys.exit(process.stderr)
    return (seconds[1] - seconds[0]) * len(paths) / (len(paths) - 1)


def measure(server, forms, n_clients):
    """Returns how long all requests took, and each of them."""

    def send(share):
        connection, latencies = http.client.HTTPConnection('127.0.0.1', server.port), []
        for content_type, body in share:
            start = time.perf_counter()
            connection.request('POST', '/captions', body, {'Content-Type': content_type})
            response = connection.getresponse()
            answer = json.loads(response.read())
            latencies.append(time.perf_counter() - start)
            if response.status != 200:
                sys.exit(f'{response.status}: {answer}')
        return latencies

    shares = [forms[client::n_clients] for client in range(n_clients)]
    start = time.perf_counter()
    with ThreadPoolExecutor(n_clients) as clients:
        latencies = [seconds for share in clients.map(send, shares) for seconds in share]
    return time.perf_counter() - start, latencies


if __name__ == '__main__':
    run_main(main)
