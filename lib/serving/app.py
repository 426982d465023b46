"""The web application, for any WSGI server."""

import mimetypes
import os
import threading

import flask
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from lib.errors import InputError
from lib.features.image_paths import find_images
from lib.serving.parameters import RANGES, parse_parameters

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'page')
# What a request may contain.
MAX_REQUEST_BYTES = 40_000_000
MAX_IMAGES = 16
# Images that the page offers to try: in formats that all browsers show.
SAMPLE_SUFFIXES = '.jpg', '.jpeg', '.png', '.gif', '.webp'
MAX_SAMPLES = 8
mimetypes.add_type('image/webp', '.webp')  # which Python knows from 3.13 on
# A page from here, with its own styles, scripts and images, and nothing else.
HEADERS = {
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-cache',
}


def make_app(captioner, samples=(), trusted_hosts=None) -> flask.Flask:
    """Returns the application.

    Args:
        captioner (lib.captioner.Captioner): What captions images, of one request at a time.
        samples (sequence of str): From :func:`find_samples`.
        trusted_hosts (list of str): The names under which it is reached. None allows any; then the
            page of another site could let its own name mean this machine.
    """
    app = flask.Flask('show_and_tell', static_folder=PAGE, static_url_path='/page')
    app.config['MAX_CONTENT_LENGTH'] = MAX_REQUEST_BYTES
    app.config['TRUSTED_HOSTS'] = trusted_hosts
    app.json.sort_keys = False
    lock = threading.Lock()

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
        return {
            'status': 'ok',
            'has_index': captioner.has_index,
            'limits': {
                'request_bytes': MAX_REQUEST_BYTES,
                **{name: high for name, (_, high) in RANGES.items()},
            },
            'samples': len(samples),
        }

    @app.post('/captions')
    def captions():
        try:
            options = parse_parameters(flask.request.form, captioner.has_index)
        except InputError as error:
            raise BadRequest(str(error)) from error
        files = [file for _, file in flask.request.files.items(multi=True) if file.filename]
        if not files:
            raise BadRequest('there are no images in the form; curl -F image=@dog.jpg sends one')
        if len(files) > MAX_IMAGES:
            raise RequestEntityTooLarge(f'{len(files)} images exceed {MAX_IMAGES} in a request')
        with lock:
            captioner.ensemble.device.use()  # CuPy's current device is that of a thread
            results = caption_files(captioner, files, options)
        images = [{'image': file.filename, **result} for file, result in zip(files, results)]
        return {'images': images}, 200 if any('captions' in image for image in images) else 422

    @app.errorhandler(HTTPException)
    def report(error):
        response = error.get_response()
        response.data = flask.json.dumps({'error': error.description})
        response.mimetype = 'application/json'
        return response

    @app.after_request
    def add_headers(response):
        response.headers.update(HEADERS)
        return response

    return app


def caption_files(captioner, files, options) -> list[dict]:
    """Captions uploaded images.

    Args:
        captioner (lib.captioner.Captioner): What captions them.
        files (list of werkzeug.datastructures.FileStorage): The images.
        options (lib.decoding.options.DecodingOptions): How to decode captions.

    Returns:
        list of dict: The ``captions`` of each image, or the ``error`` that says why it is
        unreadable; JSON values.
    """
    results = {}

    def add_error(error):
        results[error.image] = {'error': str(error)}

    for file, captions in captioner.caption_images(files, options, add_error):
        results[file] = {'captions': [caption.to_json() for caption in captions]}
    return [results[file] for file in files]


def find_samples(folder: str) -> list[str]:
    """Returns the paths of the first images of a folder that the page can offer to try.

    Raises:
        InputError: If there are none.
    """
    samples = [path for path in find_images([folder]) if path.lower().endswith(SAMPLE_SUFFIXES)]
    if not samples:
        raise InputError(f'{folder}: has no images that all browsers show', 'samples')
    return samples[:MAX_SAMPLES]
