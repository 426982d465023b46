"""The web application, for any WSGI server."""

import mimetypes
import os
from urllib.parse import urlsplit

import flask
from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    RequestEntityTooLarge,
    ServiceUnavailable,
)  # fmt: skip

from lib import VERSION
from lib.errors import InputError
from lib.features.image_paths import find_images
from lib.features.images import TooLargeImageError, UnreadableImageError
from lib.serving.parameters import MAXIMA, parse_parameters
from lib.serving.requests import InMemoryRequest, Limits, RequestCounter

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'page')
# Seconds after which a client may try again.
RETRY_AFTER = 2
# Images that the page offers to try: in formats that all browsers show, and small.
SAMPLE_SUFFIXES = '.jpg', '.jpeg', '.png', '.gif', '.webp'
MAX_SAMPLES = 8
MAX_SAMPLE_BYTES = 2_000_000
mimetypes.add_type('image/webp', '.webp')  # which Python knows from 3.13 on
# Characters of a file's name that are repeated in the answer.
MAX_NAME = 255
# A page from here, with its own styles, scripts and images, and nothing else.
HEADERS = {
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
    'Cache-Control': 'no-cache',
}


def make_app(worker, limits=None, samples=(), trusted_hosts=None) -> flask.Flask:
    """Returns the application.

    Args:
        worker (lib.serving.worker.CaptionWorker): What captions images.
        limits (Limits): What clients may ask for.
        samples (sequence of str): From :func:`find_samples`.
        trusted_hosts (set of str): The names under which it is reached; by default any.

    Returns:
        flask.Flask: The application; ``extensions['requests']`` is its :class:`RequestCounter`.
    """
    limits = limits or Limits()
    app = flask.Flask('show_and_tell', static_folder=PAGE, static_url_path='/page')
    app.request_class = InMemoryRequest
    app.config['MAX_CONTENT_LENGTH'] = limits.request_bytes
    app.json.sort_keys = False
    requests = app.extensions['requests'] = RequestCounter(limits.requests)
    settings = {
        'version': VERSION,
        'models': [short_name(model.path) for model in worker.captioner.ensemble.models],
        'has_index': worker.captioner.has_index,
        'limits': {
            **MAXIMA,
            'image_bytes': limits.image_bytes,
            'image_pixels': limits.image_pixels,
            'images': limits.images,
        },
        'samples': len(samples),
    }

    @app.before_request
    def check_host():
        # The page of another site may have let its own name mean this machine.
        host = parse_url(f'//{flask.request.host}').hostname
        if trusted_hosts is not None and host not in trusted_hosts:
            raise BadRequest(f'this server is not known as {host}')

    @app.get('/')
    def page():
        return app.send_static_file('index.html')

    @app.get('/samples/<int:number>')
    def sample(number):
        if number >= len(samples):
            flask.abort(404)
        return flask.send_file(os.path.abspath(samples[number]))

    @app.get('/health')
    def health():
        return {'status': 'ok', 'requests': requests.count, **settings}

    @app.post('/captions')
    def captions():
        check_origin(flask.request)
        if not requests.enter():
            reason = 'too many requests; try again'
            if requests.is_draining:
                reason = 'the server is shutting down'
            raise ServiceUnavailable(reason, retry_after=RETRY_AFTER)
        try:
            return answer(worker, flask.request, limits)
        finally:
            requests.leave()

    @app.errorhandler(HTTPException)
    def report(error):
        response = error.get_response()
        response.data = flask.json.dumps({'error': error.description})
        response.mimetype = 'application/json'
        return response

    @app.errorhandler(InputError)
    def report_input_error(error):
        return {'error': str(error)}, 400

    @app.after_request
    def add_headers(response):
        response.headers.update(HEADERS)
        return response

    return app


def find_samples(folder: str) -> list[str]:
    """Returns the paths of the first images of a folder that the page can offer to try.

    Raises:
        InputError: If there are none.
    """
    samples = [
        path
        for path in find_images([folder])
        if path.lower().endswith(SAMPLE_SUFFIXES)
        and os.path.isfile(path)  # a pipe would hold a thread for ever
        and os.path.getsize(path) <= MAX_SAMPLE_BYTES
    ]
    if not samples:
        raise InputError(f'{folder}: has no images of up to 2 MB that browsers show', 'samples')
    return samples[:MAX_SAMPLES]


def short_name(path):
    """Returns the name of a file and of the folder that it is in."""
    return '/'.join(os.path.abspath(path).split(os.sep)[-2:])


def parse_url(url):
    """Returns the parts of a URL in a request."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise BadRequest(f'{url!r} is not an address') from error


def check_origin(request):
    """Refuses what the page of another site sends."""
    site = request.headers.get('Sec-Fetch-Site')
    origin = request.headers.get('Origin')
    is_own = site in ('same-origin', 'none')
    if site is None:  # an old browser, an address without https, or no browser
        is_own = origin is None or parse_url(origin).netloc == request.host
    if not is_own:
        raise Forbidden("requests from other sites' pages are refused")


def answer(worker, request, limits):
    """Captions the images of a request.

    Args:
        worker (lib.serving.worker.CaptionWorker): What captions images.
        request (flask.Request): The request.
        limits (Limits): What it may contain.

    Returns:
        tuple: JSON values and the status: 200 if an image was captioned, 413 if one is too large,
        otherwise 422.

    Raises:
        InputError: If a parameter is wrong or there are no images.
        HTTPException: If there are too many images.
    """
    if request.mimetype != 'multipart/form-data':
        raise InputError('send images as a form, such as with curl -F image=@dog.jpg')
    try:
        form = request.form
    except ValueError as error:
        raise InputError(
            'the form is damaged or cut short; curl -F image=@dog.jpg sends an image'
        ) from error
    models, options = parse_parameters(
        form, len(worker.captioner.ensemble.models), worker.captioner.has_index
    )
    files = [file for _, file in request.files.items(multi=True) if file.filename]
    if not files:
        raise InputError('there are no images in the form; curl -F image=@dog.jpg sends one')
    if len(files) > limits.images:
        raise RequestEntityTooLarge(f'{len(files)} images exceed {limits.images} in a request')
    images = [{'image': file.filename[:MAX_NAME]} for file in files]
    pending = []
    status = 422
    for file, image in zip(files, images):
        try:
            pixels = prepare(worker.captioner, file.stream, limits)
        except UnreadableImageError as error:
            image['error'] = str(error)
            if isinstance(error, TooLargeImageError):
                status = 413
        else:
            pending.append((image, worker.submit(pixels, models, options)))
    for image, result in pending:
        try:
            image['captions'] = [caption.to_json() for caption in result.result()]
        except InputError as error:  # of the models, not of the client
            raise RuntimeError(str(error)) from error
        status = 200
    return {'images': images}, status


def prepare(captioner, content, limits):
    """Returns what :meth:`lib.captioner.Captioner.prepare` returns of an uploaded image.

    Raises:
        UnreadableImageError: If it is not an image, or too large.
    """
    n_bytes = content.getbuffer().nbytes
    if n_bytes > limits.image_bytes:
        raise TooLargeImageError(
            f'too large: {n_bytes:,} bytes; at most {limits.image_bytes:,} are accepted'
        )
    return captioner.prepare(content, limits.image_pixels)
