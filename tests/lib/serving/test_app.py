"""The web application, without a server."""

import io
import os
import threading
from pathlib import Path

import pytest
from PIL import Image

from lib.captioner import Captioner
from lib.errors import InputError
from lib.serving.app import find_samples, make_app
from lib.serving.requests import Limits
from lib.serving.worker import CaptionWorker
from tests.helpers.samples import write_image
from tests.helpers.server import encode_form

LIMITS = Limits(image_bytes=20_000, image_pixels=10_000, images=3, requests=1)
FORM_ERROR = 'there are no images in the form; curl -F image=@dog.jpg sends one'


@pytest.fixture(scope='module')
def worker(folder):
    return CaptionWorker(Captioner.load(folder.models, folder.cnn))


@pytest.fixture(scope='module')
def client(worker):
    return make_app(worker, LIMITS, trusted_hosts={'localhost'}).test_client()


def post(client, *images, headers=(), **parameters):
    """Sends images, paths or pairs of a name and bytes; returns the status and the JSON."""
    files = []
    for image in images:
        name, content = image if isinstance(image, tuple) else ('a.jpg', read(image))
        files.append((io.BytesIO(content), name))
    response = client.post(
        '/captions',
        data={'image': files, **parameters},
        headers=dict(headers),
        content_type='multipart/form-data',
    )
    return response.status_code, response.json


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def encode(image):
    content = io.BytesIO()
    image.save(content, 'PNG')
    return content.getvalue()


def test_images_are_answered_in_their_order(folder, client):
    captioner = Captioner.load(folder.models[1], folder.cnn)
    names = ['0.jpg', '1.jpg', '2.jpg']
    images = [*zip(names, map(read, folder.images))]
    status, answer = post(client, *images, models=2, beam_width=3)
    assert status == 200
    assert [item['image'] for item in answer['images']] == names
    for item, captions in zip(answer['images'], captioner(folder.images, beam_width=3)):
        assert [caption['caption'] for caption in item['captions']] == [
            caption.text for caption in captions
        ]
        assert [caption['log_prob'] for caption in item['captions']] == pytest.approx(
            [caption.log_prob for caption in captions], abs=1e-4
        )


@pytest.mark.parametrize(
    'content', [b'', b'GIF89a', b'text', b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'cut']
)
def test_what_is_no_image_is_named(folder, client, content):
    if content == 'cut':
        content = read(folder.images[0])[:-200]
    status, answer = post(client, ('a.jpg', content))
    assert status == 422
    assert answer['images'][0]['image'] == 'a.jpg'
    assert answer['images'][0]['error']
    assert '0x' not in answer['images'][0]['error']  # no address in memory
    # The other images of the request are captioned.
    status, answer = post(client, ('a.jpg', content), folder.images[0], ('b.jpg', content))
    assert status == 200
    assert [('captions' in item) for item in answer['images']] == [False, True, False]


def test_requests_that_are_no_forms_of_images_are_explained(client):
    assert post(client, top=3) == (400, {'error': FORM_ERROR})
    for content_type in 'application/json', 'multipart/form-data', 'image/jpeg':
        response = client.post('/captions', data=b'{}', content_type=content_type)
        assert response.status_code == 400
        assert 'curl -F image=@dog.jpg' in response.json['error']
    assert client.get('/nothing').status_code == 404
    assert client.put('/captions').status_code == 405
    assert post(client, ('a.jpg', b''), top='many') == (
        400,
        {'error': "top 'many' is not an integer up to 20"},
    )


@pytest.mark.parametrize('n_missing', [10, 30, 500])
def test_a_form_that_is_cut_short_is_called_so(folder, client, n_missing):
    content_type, body = encode_form([Path(folder.images[0])], {})
    response = client.post('/captions', data=body[:-n_missing], content_type=content_type)
    assert response.status_code == 400
    assert response.json['error'].startswith('the form is damaged or cut short')


def test_too_much_is_refused(folder, client):
    status, answer = post(client, ('a.png', encode(Image.effect_noise((150, 200), 100))))
    assert status == 413
    assert 'bytes; at most 20,000 are accepted' in answer['images'][0]['error']
    many_pixels = 'a.png', encode(Image.new('RGB', (200, 100)))
    status, answer = post(client, many_pixels)
    assert status == 413
    assert answer['images'][0]['error'] == 'too large: 200 x 100 pixels'
    assert post(client, many_pixels, folder.images[0])[0] == 200
    status, answer = post(client, *[folder.images[0]] * 4)
    assert (status, answer['error']) == (413, '4 images exceed 3 in a request')
    assert post(client, ('a.jpg', bytes(2_000_000)))[0] == 413


class HeldWorker:
    """Captions images only when it is told to."""

    def __init__(self, worker):
        self.captioner = worker.captioner
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()
        self._worker = worker

    def submit(self, *job):
        self.has_begun.set()
        assert self.may_go_on.wait(60)
        return self._worker.submit(*job)


def test_too_many_requests_at_once_are_told_to_try_again(folder, worker):
    held = HeldWorker(worker)
    app = make_app(held, LIMITS)
    answers = []
    first = threading.Thread(
        target=lambda: answers.append(post(app.test_client(), folder.images[0]))
    )
    first.start()
    assert held.has_begun.wait(60)
    client = app.test_client()
    assert client.get('/health').json['requests'] == 1
    response = client.post('/captions')
    assert response.status_code == 503
    assert int(response.headers['Retry-After']) > 0
    assert response.json == {'error': 'too many requests; try again'}
    # A server that is told to stop finishes what it has begun.
    counter = app.extensions['requests']
    drain = threading.Thread(target=counter.drain, args=[60])
    drain.start()
    while not counter.is_draining:
        pass
    response = client.post('/captions')
    assert response.status_code == 503
    assert response.json == {'error': 'the server is shutting down'}
    assert drain.is_alive()
    held.may_go_on.set()
    drain.join(60)
    assert not drain.is_alive()
    first.join(60)
    assert answers[0][0] == 200


def test_a_fault_of_a_model_is_not_blamed_on_the_client(folder, worker, monkeypatch):
    def fail(*_):
        raise InputError('the weights are too large')

    monkeypatch.setattr(Captioner, 'caption_prepared', fail)
    assert post(make_app(worker).test_client(), folder.images[0])[0] == 500


def test_a_file_name_is_only_repeated(folder, client):
    for name in '../../etc/passwd', '<script>alert(1)</script>.jpg', 'ü' * 300, '\x1b[31m':
        status, answer = post(client, (name, read(folder.images[0])), beam_width=1)
        assert status == 200
        assert answer['images'][0]['image'] == name[:255]


def test_every_answer_forbids_what_a_hostile_file_needs(client):
    for path in '/', '/page/page.js', '/page/page.css', '/health', '/nothing', '/captions':
        headers = client.get(path).headers
        assert "default-src 'none'" in headers['Content-Security-Policy']
        assert "script-src 'self';" in headers['Content-Security-Policy']
        assert 'unsafe' not in headers['Content-Security-Policy']
        assert headers['X-Content-Type-Options'] == 'nosniff'


def test_only_the_files_of_the_page_are_served(client):
    assert client.get('/page/page.js').status_code == 200
    for path in '/page/../app.py', '/page/%2e%2e/app.py', '/page/..%2fapp.py':
        assert client.get(path).status_code == 404


def test_other_sites_may_not_use_the_server(folder, client):
    for name in 'evil.example', '[', 'localhost.evil.example', 'localhost@evil.example':
        assert client.get('/health', headers={'Host': name}).status_code == 400
    for name in 'localhost', 'LOCALHOST:8090':
        assert client.get('/health', headers={'Host': name}).status_code == 200
    for headers, expected in (
        ({'Sec-Fetch-Site': 'cross-site'}, 403),
        ({'Sec-Fetch-Site': 'same-origin'}, 200),
        # Without https, browsers send only this.
        ({'Origin': 'http://evil.example'}, 403),
        ({'Origin': 'null'}, 403),
        ({'Origin': 'http://localhost'}, 200),
    ):
        assert post(client, folder.images[0], headers=headers, beam_width=1)[0] == expected


def test_samples_are_served_as_they_are(worker, tmp_path):
    for name in 'b.png', 'a.jpg':
        write_image(tmp_path / name)
    write_image(tmp_path / 'c.bmp')  # not in all browsers
    (tmp_path / 'd.jpg').write_bytes(bytes(2_000_001))
    os.mkfifo(tmp_path / 'e.jpg')
    client = make_app(worker, samples=find_samples(str(tmp_path))).test_client()
    assert client.get('/health').json['samples'] == 2
    for number, (name, kind) in enumerate([('a.jpg', 'image/jpeg'), ('b.png', 'image/png')]):
        response = client.get(f'/samples/{number}')
        assert response.headers['Content-Type'] == kind
        assert response.data == (tmp_path / name).read_bytes()
    assert client.get('/samples/2').status_code == 404
