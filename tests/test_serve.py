"""The server, over real connections."""

import itertools
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import small_model, write_image
from tests.helpers.scripts import run_script
from tests.helpers.server import SOURCE, ServedFolder, encode_form, serving

pytest.importorskip('flask')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return ServedFolder(tmp_path_factory.mktemp('serve'))


@pytest.fixture(scope='module')
def server(folder):
    with serving(*folder.arguments) as server:
        yield server


def assert_same_answer(answer, expected):
    """Checks captions of one image; batches of other sizes round otherwise."""
    texts, expected_texts = (
        [caption['caption'] for caption in item['captions']] for item in (answer, expected)
    )
    assert texts == expected_texts
    for caption, expected_caption in zip(answer['captions'], expected['captions']):
        assert caption['log_prob'] == pytest.approx(expected_caption['log_prob'], abs=1e-4)


def start_request(server, content_type, body, n_sent):
    """Sends the first bytes of a request; returns the connection."""
    connection = server.connect()
    connection.putrequest('POST', '/captions')
    connection.putheader('Content-Type', content_type)
    connection.putheader('Content-Length', str(len(body)))
    connection.endheaders(body[:n_sent])
    return connection


def test_answers_are_those_of_generate_caption(folder, server):
    parameters = {'search': 'diverse', 'beam_width': 7, 'top': 7}
    expected = folder.captions('--search', 'diverse', '--beam-width', 7, '--top', 7)
    status, answer = server.post(*folder.images[:3], **parameters)
    assert status == 200
    assert [item['image'] for item in answer['images']] == ['0.jpg', '1.jpg', '2.jpg']
    for item in answer['images']:
        assert_same_answer(item, expected[item['image']])


def test_many_clients_lose_nothing(folder, server):
    expected = folder.captions()
    images = itertools.islice(itertools.cycle(folder.images), 60)
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(server.post, images))
    assert len(answers) == 60
    for status, answer in answers:
        assert status == 200
        (item,) = answer['images']
        assert_same_answer(item, expected[item['image']])


def test_a_header_alone_cannot_take_memory(server):
    with socket.create_connection(('127.0.0.1', server.port), timeout=60) as connection:
        connection.sendall(
            b'POST /captions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9' + b'9' * 15
        )
        connection.sendall(b'\r\n\r\n')
        assert connection.recv(1000).startswith(b'HTTP/1.1 413 ')


def test_slow_clients_do_not_keep_others_waiting(folder, server):
    content_type, body = encode_form([folder.images[0]], {})
    # More than there are threads.
    connections = [start_request(server, content_type, body, 50) for _ in range(40)]
    assert server.post(folder.images[0])[0] == 200
    for connection in connections:
        connection.send(body[50:])
        assert connection.getresponse().status == 200
        connection.close()


def test_other_names_of_this_machine_are_refused(server):
    assert server.get('/health', Host=f'localhost:{server.port}')[0].status == 200
    response, _ = server.get('/health', Host='evil.example')
    assert response.status == 400
    assert 'Server' not in response.headers


def test_a_signal_ends_the_server(folder, tmp_path):
    write_image(tmp_path / 'a.jpg')
    flags = '--host', 'localhost', '--samples', tmp_path
    with serving(*folder.arguments, *flags) as server:
        assert server.health()['samples'] == 1
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert server.process.stderr.read() == ''


def test_wrong_flags_are_one_line(folder, server, tmp_path):
    def run(*flags):
        return run_script('serve.py', *folder.arguments, *flags)

    assert_input_error(run('--port', server.port), f'port {server.port}: Address already in use')
    assert_input_error(run('--port', 70000), '--port')
    assert_input_error(
        run('--host', 'no.such.host.invalid'), 'cannot listen at no.such.host.invalid'
    )
    assert_input_error(run('--samples', tmp_path), f'no images in {tmp_path}')
    assert_input_error(run('--layer', 'fc7'), '--layer fc7')
    small_model(5, source=SOURCE).save(tmp_path / 'other.h5')
    process = run_script('serve.py', '-m', tmp_path / 'other.h5', '-i', folder.cnn)
    assert_input_error(process, 'features have size 8')
