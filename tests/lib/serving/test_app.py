"""The web application, without a server."""

import io

import pytest
from PIL import Image

from lib.captioner import Captioner
from lib.errors import InputError
from lib.serving.app import MAX_REQUEST_BYTES, find_samples, make_app
from tests.helpers.samples import write_image

FORM_ERROR = 'there are no images in the form; curl -F image=@dog.jpg sends one'


@pytest.fixture(scope='module')
def captioner(folder):
    return Captioner.load(folder.models, folder.cnn)


@pytest.fixture(scope='module')
def client(captioner):
    return make_app(captioner, trusted_hosts=['localhost']).test_client()


def post(client, *images, **parameters):
    """Sends images, paths or pairs of a name and bytes; returns the status and the JSON."""
    files = []
    for image in images:
        name, content = image if isinstance(image, tuple) else ('a.jpg', read(image))
        files.append((io.BytesIO(content), name))
    response = client.post(
        '/captions', data={'image': files, **parameters}, content_type='multipart/form-data'
    )
    return response.status_code, response.json


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def test_images_are_answered_in_their_order(folder, captioner, client):
    names = ['0.jpg', '1.jpg', '2.jpg']
    images = [*zip(names, map(read, folder.images))]
    status, answer = post(client, *images, beam_width=3)
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
        assert response.json['error'] == FORM_ERROR
    assert client.get('/nothing').status_code == 404
    assert client.put('/captions').status_code == 405
    assert post(client, ('a.jpg', b''), top='many') == (
        400,
        {'error': 'top many is not an integer from 1 to 20'},
    )


def test_too_much_is_refused(folder, client):
    status, answer = post(client, *[folder.images[0]] * 17)
    assert (status, answer['error']) == (413, '17 images exceed 16 in a request')
    assert post(client, ('a.jpg', bytes(MAX_REQUEST_BYTES)))[0] == 413
    bomb = io.BytesIO()
    Image.new('1', (14_000, 14_000)).save(bomb, 'PNG')
    status, answer = post(client, ('a.png', bomb.getvalue()))
    assert status == 422
    assert '196000000 pixels' in answer['images'][0]['error']


def test_a_fault_of_a_model_is_not_blamed_on_the_client(folder, captioner, monkeypatch):
    def fail(*_):
        raise InputError('the weights are too large')

    monkeypatch.setattr(Captioner, 'caption_images', fail)
    assert post(make_app(captioner).test_client(), folder.images[0])[0] == 500


def test_a_file_name_is_only_repeated(folder, client):
    for name in '../../etc/passwd', '<script>alert(1)</script>.jpg', 'ü' * 300, '\x1b[31m':
        status, answer = post(client, (name, read(folder.images[0])), beam_width=1)
        assert status == 200
        assert answer['images'][0]['image'] == name


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


def test_other_names_are_refused(client):
    for name in 'evil.example', '[', 'localhost.evil.example', 'localhost@evil.example':
        assert client.get('/health', headers={'Host': name}).status_code == 400
    for name in 'localhost', 'localhost:8090':
        assert client.get('/health', headers={'Host': name}).status_code == 200


def test_samples_are_served_as_they_are(captioner, tmp_path):
    for name in 'b.png', 'a.jpg':
        write_image(tmp_path / name)
    write_image(tmp_path / 'c.bmp')  # not in all browsers
    client = make_app(captioner, samples=find_samples(str(tmp_path))).test_client()
    assert client.get('/health').json['samples'] == 2
    for number, (name, kind) in enumerate([('a.jpg', 'image/jpeg'), ('b.png', 'image/png')]):
        response = client.get(f'/samples/{number}')
        assert response.headers['Content-Type'] == kind
        assert response.data == (tmp_path / name).read_bytes()
    assert client.get('/samples/2').status_code == 404
