"""Running serve.py, and sending it images."""

import contextlib
import http.client
import io
import json
import os
import subprocess
import sys

from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from lib.features.feature_source import FeatureSource
from tests.helpers import caffemodels
from tests.helpers.samples import small_model, write_image
from tests.helpers.scripts import ROOT, run_script

SOURCE = FeatureSource('net.caffemodel', 'pool5/7x7_s1', 224, [104.0, 117.0, 123.0], 'warp')
N_IMAGES = 20


class ServedFolder:
    """A folder with a CNN, two models and images."""

    def __init__(self, path):
        self.path, self.cnn = path, caffemodels.write_googlenet(path / 'net.caffemodel')
        self.models = [path / 'a.h5', path / 'b.h5']
        for seed, model in enumerate(self.models):
            small_model(8, seed=seed, source=SOURCE).save(model)
        self.images = [write_image(path / f'{n}.jpg', n, (n + 40, 60)) for n in range(N_IMAGES)]

    @property
    def arguments(self):
        return '-m', *self.models, '-i', self.cnn

    def captions(self, *flags):
        """Returns what generate_caption.py writes, by the name of each image."""
        output = self.path / 'captions.json'
        process = run_script(
            'generate_caption.py', *self.images, *self.arguments, '--json', output, *flags
        )
        assert process.returncode == 0, process.stderr
        return {item['image'].rpartition('/')[2]: item for item in json.loads(output.read_text())}


class Server:
    """A running serve.py.

    Attributes:
        process (subprocess.Popen): The process.
        port (int): The port that it listens at.
    """

    def __init__(self, process, port):
        self.process, self.port = process, port

    def connect(self):
        return http.client.HTTPConnection('127.0.0.1', self.port, timeout=120)

    def request(self, method, path, body=None, headers=()):
        """Sends a request; returns the response, read, and its body."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response, response.read()

    def get(self, path, **headers):
        return self.request('GET', path, headers=headers)

    def health(self):
        return json.loads(self.get('/health')[1])

    def post(self, *images, **parameters):
        """Sends images.

        Args:
            images: Paths, or pairs of a name and bytes.
            parameters: Of the form.

        Returns:
            tuple: The status and the JSON.
        """
        content_type, body = encode_form(images, parameters)
        headers = {'Content-Type': content_type}
        response, content = self.request('POST', '/captions', body, headers)
        return response.status, json.loads(content)


def encode_form(images, parameters):
    """Returns the content type and the bytes of a form; see :meth:`Server.post`."""
    files = []
    for image in images:
        name, content = image if isinstance(image, tuple) else (image.name, image.read_bytes())
        files.append(FileStorage(io.BytesIO(content), name))
    boundary, body = encode_multipart({**parameters, 'image': files})
    return f'multipart/form-data; boundary={boundary}', body


@contextlib.contextmanager
def serving(*arguments):
    """Runs serve.py with some flags on a free port until the block ends.

    Yields:
        Server: The server, which answers.
    """
    process = subprocess.Popen(
        [sys.executable, os.path.join(ROOT, 'serve.py'), *map(str, arguments), '--port', '0'],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            line = process.stdout.readline()
            if not line.startswith('serving at '):
                raise AssertionError(process.communicate()[1])
            yield Server(process, int(line.rpartition(':')[2]))
        finally:
            process.kill()
