"""The server, over real connections."""

import contextlib
import http.client
import itertools
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import small_model, write_image
from tests.helpers.scripts import run_script
from tests.helpers.server import SOURCE, ServedFolder, encode_form, serving, wait_for

pytest.importorskip('flask', reason='requirements-web.txt')

# Slow, on the small networks of these tests.
SLOW = {'search': 'mbr', 'beam_width': 100, 'top': 20}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return ServedFolder(tmp_path_factory.mktemp('serve'))


@pytest.fixture(scope='module')
def server(folder):
    with serving(*folder.arguments) as server:
        yield server


@pytest.fixture(scope='module')
def limited(folder):
    """A server that takes little."""
    limits = '--max-image-bytes 20000 --max-image-pixels 10000 --max-images 3 --max-requests 1'
    with serving(*folder.arguments, *limits.split()) as server:
        yield server


def assert_same_answer(answer, expected):
    """Checks captions of one image; batches of other sizes round otherwise."""
    texts, expected_texts = (
        [caption['caption'] for caption in item['captions']] for item in (answer, expected)
    )
    assert texts == expected_texts
    for caption, expected_caption in zip(answer['captions'], expected['captions']):
        assert caption['log_prob'] == pytest.approx(expected_caption['log_prob'], abs=1e-4)


def noise(width, height):
    """Returns an image that hardly can be compressed."""
    return Image.effect_noise((width, height), 100)


@pytest.mark.parametrize(
    'parameters, flags',
    [
        ({}, []),
        ({'beam_width': 3, 'top': 2}, ['--beam-width', 3, '--top', 2]),
        ({'beam_width': 2}, ['--beam-width', 2]),
        ({'search': 'diverse'}, ['--beam-groups', 5]),
        (
            {'search': 'diverse', 'beam_width': 7, 'top': 7},
            ['--beam-width', '7', '--top', '7', '--groups', '7'],
        ),
        ({'models': '2'}, []),
    ],
)
def test_answers_are_those_of_generate_caption(folder, server, parameters, flags):
    if 'models' in parameters:
        flags = ['-m', folder.models[1]]
    expected = folder.captions(*flags)
    status, answer = server.post(*folder.images[:3], **parameters)
    assert status == 200
    assert [item['image'] for item in answer['images']] == ['0.jpg', '1.jpg', '2.jpg']
    for item in answer['images']:
        assert_same_answer(item, expected[item['image']])


@pytest.mark.parametrize('search', ['mbr', 'sample'])
def test_searches_by_chance_give_as_many_captions(folder, server, search):
    status, answer = server.post(folder.images[0], search=search, top=3)
    assert status == 200
    assert len(answer['images'][0]['captions']) == 3


def test_many_clients_lose_nothing(folder, server):
    expected, turns = folder.captions(), itertools.cycle(folder.images)
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(server.post, itertools.islice(turns, 200)))
    assert len(answers) == 200
    for status, answer in answers:
        assert status == 200
        (item,) = answer['images']
        assert_same_answer(item, expected[item['image']])


@pytest.mark.parametrize(
    'content', [b'', b'GIF89a', b'text', b'<svg xmlns="http://www.w3.org/2000/svg"/>']
)
def test_what_is_no_image_is_named(folder, server, content):
    status, answer = server.post(('a.jpg', content))
    assert status == 422
    assert answer['images'][0]['image'] == 'a.jpg'
    assert answer['images'][0]['error']
    assert '0x' not in answer['images'][0]['error']  # no address in memory
    # The other images of the request are captioned.
    status, answer = server.post(('a.jpg', content), folder.images[0], ('b.jpg', content))
    assert status == 200
    assert [('captions' in item) for item in answer['images']] == [False, True, False]


def test_a_cut_image_is_an_error(folder, server):
    status, answer = server.post(('cut.jpg', folder.images[0].read_bytes()[:-200]))
    assert status == 422
    assert 'truncated' in answer['images'][0]['error'].lower()


@pytest.mark.parametrize(
    'parameters, message',
    [
        ({'beam_width': 0}, 'beam_width'),
        ({'beam_width': 101}, "beam_width '101' is not an integer from 1 to 100"),
        ({'beam_width': '1e3'}, 'beam_width'),
        ({'top': 21}, 'top'),
        ({'top': 3, 'beam_width': 2}, 'top 3 exceeds the beam width 2'),
        ({'search': 'best'}, "search 'best' is not one of beam, diverse, mbr, sample"),
        ({'models': '3'}, 'models'),
        ({'models': '1,x'}, 'models'),
        ({'beam': 3}, 'beam is unknown; the parameters are beam_width, top, search, models'),
    ],
)
def test_wrong_parameters_are_named(folder, server, parameters, message):
    status, answer = server.post(folder.images[0], **parameters)
    assert status == 400
    assert message in answer['error']


def test_requests_that_are_no_forms_of_images_are_explained(server):
    status, answer = server.post(top=3)
    assert (status, answer['error']) == (
        400,
        'there are no images in the form; curl -F image=@dog.jpg sends one',
    )
    for content_type in 'application/json', 'multipart/form-data', 'image/jpeg':
        response, content = server.request(
            'POST', '/captions', b'{}', {'Content-Type': content_type}
        )
        assert response.status == 400
        assert 'curl -F image=@dog.jpg' in json.loads(content)['error']
    assert server.get('/nothing')[0].status == 404
    assert server.request('PUT', '/captions')[0].status == 405


def test_too_much_is_refused(folder, limited, tmp_path):
    noise(150, 200).save(tmp_path / 'bytes.png')
    status, answer = limited.post(tmp_path / 'bytes.png')
    assert status == 413
    assert 'bytes; at most 20,000 are accepted' in answer['images'][0]['error']
    Image.new('RGB', (200, 100)).save(tmp_path / 'pixels.png')
    status, answer = limited.post(tmp_path / 'pixels.png')
    assert (status, answer['images'][0]['error']) == (413, 'too large: 200 x 100 pixels')
    status, answer = limited.post(tmp_path / 'pixels.png', folder.images[0])
    assert status == 200
    status, answer = limited.post(*folder.images[:4])
    assert (status, answer['error']) == (413, '4 images exceed 3 in a request')
    response, _ = limited.request('POST', '/captions', bytes(2_000_000))
    assert response.status == 413


def test_a_header_alone_cannot_take_memory(limited):
    with socket.create_connection(('127.0.0.1', limited.port), timeout=60) as connection:
        connection.sendall(
            b'POST /captions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9' + b'9' * 15
        )
        connection.sendall(b'\r\n\r\n')
        assert connection.recv(1000).startswith(b'HTTP/1.1 413 ')


def test_too_many_requests_at_once_are_told_to_try_again(folder, limited):
    with ThreadPoolExecutor(1) as client:
        content_type, body = encode_form([folder.images[0]], {})
        headers, busy = {'Content-Type': content_type}, None
        while busy is None:  # the first may have been answered in between
            first = client.submit(limited.post, *folder.images[:3], **SLOW)
            wait_for(lambda: limited.health()['requests'] or first.done())  # noqa: B023
            response, content = limited.request('POST', '/captions', body, headers)
            busy = response if response.status == 503 else None
        assert int(response.headers['Retry-After']) > 0
        assert 'try again' in json.loads(content)['error']
        assert first.result()[0] == 200
    wait_for(lambda: not limited.health()['requests'])
    assert limited.post(folder.images[0])[0] == 200


def test_slow_clients_do_not_keep_others_waiting(folder, limited):
    content_type, body = encode_form([folder.images[0]], {})
    connections = [http.client.HTTPConnection('127.0.0.1', limited.port) for _ in range(8)]
    for connection in connections:
        connection.putrequest('POST', '/captions')
        connection.putheader('Content-Type', content_type)
        connection.putheader('Content-Length', str(len(body)))
        connection.endheaders(body[:50])
    assert limited.post(folder.images[0])[0] == 200
    for connection in connections:
        connection.send(body[50:])
        assert connection.getresponse().status == 200
        connection.close()


def test_idle_connections_are_closed_for_others(folder, limited):
    connections = [http.client.HTTPConnection('127.0.0.1', limited.port) for _ in range(110)]
    with contextlib.ExitStack() as stack:
        for connection in connections:
            stack.callback(connection.close)
            connection.connect()
        # More than there may be: some wait until idle ones are closed.
        assert limited.post(folder.images[0])[0] == 200


def test_clients_that_leave_do_no_harm(folder, server):
    content_type, body = encode_form(folder.images[:8], SLOW)
    for n_sent in 100, len(body):
        connection = server.connect()
        connection.putrequest('POST', '/captions')
        connection.putheader('Content-Type', content_type)
        connection.putheader('Content-Length', str(len(body)))
        connection.endheaders(body[:n_sent])
        connection.close()
    wait_for(lambda: not server.health()['requests'])
    assert server.post(folder.images[0])[0] == 200


def test_a_file_name_is_only_repeated(folder, server):
    content = folder.images[0].read_bytes()
    for name in '../../etc/passwd', '<script>alert(1)</script>.jpg', 'ü' * 300, '\x1b[31m':
        status, answer = server.post((name, content))
        assert status == 200
        assert answer['images'][0]['image'] == name[:255]


def test_every_answer_forbids_what_a_hostile_file_needs(server):
    for path in '/', '/page/page.js', '/page/page.css', '/health', '/nothing', '/captions':
        response, _ = server.get(path)
        policy = response.headers['Content-Security-Policy']
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert 'unsafe' not in policy
        assert response.headers['X-Content-Type-Options'] == 'nosniff'
        assert 'Server' not in response.headers


@pytest.mark.parametrize('path', ['/page/../app.py', '/page/%2e%2e/app.py', '/page/..%2fapp.py'])
def test_only_the_files_of_the_page_are_served(server, path):
    assert server.get(path)[0].status == 404


def test_other_sites_may_not_use_the_server(folder, server):
    for name in 'evil.example', '[', 'localhost.evil.example', '127.0.0.1@evil.example':
        response, _ = server.get('/health', Host=name)
        assert response.status == 400
    for name in 'localhost', '127.0.0.1', 'LOCALHOST', '[::1]':
        assert server.get('/health', Host=f'{name}:{server.port}')[0].status == 200
    assert server.post(folder.images[0], headers={'Sec-Fetch-Site': 'cross-site'})[0] == 403
    assert server.post(folder.images[0], headers={'Sec-Fetch-Site': 'same-origin'})[0] == 200
    # Without https, browsers send only this.
    own = f'http://127.0.0.1:{server.port}'
    for origin, expected in (('http://evil.example', 403), ('null', 403), (own, 200)):
        assert server.post(folder.images[0], headers={'Origin': origin})[0] == expected


@pytest.mark.parametrize('host', ['::1', 'localhost', '0.0.0.0'])
def test_the_server_is_reached_under_its_own_address(folder, host):
    with serving(*folder.arguments, '--host', host) as server:
        name = {'0.0.0.0': '127.0.0.1'}.get(host, host)
        connection = http.client.HTTPConnection(name, server.port, timeout=60)
        connection.request('GET', '/health')
        assert connection.getresponse().status == 200
        connection.close()
        # Any name may lead to a server that other machines see.
        status = {'0.0.0.0': 200}.get(host, 400)
        assert server.get('/health', host=name, Host='other.example')[0].status == status


def test_samples_are_served_as_they_are(folder):
    (folder.path / 'samples').mkdir()
    for name in 'b.png', 'a.jpg':
        write_image(folder.path / 'samples' / name)
    write_image(folder.path / 'samples' / 'c.bmp')  # not in all browsers
    (folder.path / 'samples' / 'd.jpg').write_text('not an image')
    with serving(*folder.arguments, '--samples', folder.path / 'samples') as server:
        assert server.health()['samples'] == 2
        for number, (name, kind) in enumerate([('a.jpg', 'image/jpeg'), ('b.png', 'image/png')]):
            response, content = server.get(f'/samples/{number}')
            assert response.headers['Content-Type'] == kind
            assert content == (folder.path / 'samples' / name).read_bytes()
        assert server.get('/samples/2')[0].status == 404


def is_refused(answer):
    """Returns an answer if its status is 503."""
    return answer if answer[0] == 503 else None


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_requests_finish(folder, number):
    flags = '--max-images', 96
    with serving(*folder.arguments, *flags) as server, ThreadPoolExecutor(1) as client:
        running = client.submit(server.post, *folder.images[:16] * 6, **SLOW)
        wait_for(lambda: server.health()['requests'])
        server.process.send_signal(number)
        status, answer = wait_for(lambda: is_refused(server.post(folder.images[0])))
        assert answer['error'] == 'the server is shutting down'
        assert not running.done()
        status, answer = running.result()
        assert status == 200
        assert len(answer['images']) == 96
        assert server.process.wait(30) == 0
        assert server.process.stderr.read() == ''


# Runs serve.py where no temporary file can be made.
WITHOUT_DISK = """
import runpy, sys, tempfile
def refuse(*arguments, **options):
    raise OSError('a temporary file')
for name in 'mkstemp', 'TemporaryFile', 'NamedTemporaryFile', 'SpooledTemporaryFile':
    setattr(tempfile, name, refuse)
sys.argv[0] = 'serve.py'
runpy.run_path('serve.py', run_name='__main__')
"""


def test_nothing_is_written_to_the_disk(folder, tmp_path):
    noise(3000, 2000).save(tmp_path / 'large.png')
    assert (tmp_path / 'large.png').stat().st_size > 5_000_000
    with serving(*folder.arguments, code=WITHOUT_DISK) as server:
        status, answer = server.post(tmp_path / 'large.png', folder.images[0])
        assert status == 200
        assert all('captions' in item for item in answer['images'])


def test_wrong_flags_are_one_line(folder, server, tmp_path):
    def run(*flags):
        return run_script('serve.py', *folder.arguments, *flags)

    assert_input_error(run('--port', server.port), f'port {server.port}: Address already in use')
    assert_input_error(run('--port', 70000), '--port 70000')
    assert_input_error(run('--host', 'no.such.host.invalid'), '--host no.such.host.invalid')
    assert_input_error(run('--max-requests', 1000), '--max-requests 1000')
    assert_input_error(run('--samples', tmp_path), f'no images in {tmp_path}')
    assert_input_error(run('--layer', 'fc7'), '--layer fc7')
    small_model(5, source=SOURCE).save(tmp_path / 'other.h5')
    process = run_script('serve.py', '-m', tmp_path / 'other.h5', '-i', folder.cnn)
    assert_input_error(process, 'features have size 8')
