import subprocess
import sys

import chainer
import numpy
from chainer import serializers

from tests.helpers.scripts import ROOT


def run_python(code):
    """Runs code in a new interpreter in which warnings of deprecated features are errors."""
    strict = ['-W', 'error::DeprecationWarning', '-W', 'error::FutureWarning']
    return subprocess.run(
        [sys.executable, *strict, '-c', code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )


def test_importing_chainer_prints_nothing():
    process = run_python('import lib, chainer; print(chainer.__version__)')
    assert process.stderr == ''
    assert process.stdout == '7.8.1\n'


def test_models_can_be_imported_first():
    process = run_python('import models.show_and_tell')
    assert process.stderr == ''


def test_numpy_is_left_unchanged():
    process = run_python(
        'import sys, numpy\n'
        'before = set(dir(numpy))\n'
        'import lib\n'
        'changed = before.symmetric_difference(dir(numpy))\n'
        '# Submodules become attributes when they are imported.\n'
        'print(sorted(name for name in changed if f"numpy.{name}" not in sys.modules))'
    )
    assert process.stdout.strip() == '[]', process.stderr


def test_training_a_network_prints_nothing_on_standard_error():
    process = run_python(
        'import lib, chainer, numpy\n'
        'import chainer.functions as F, chainer.links as L\n'
        'model = L.Classifier(L.Linear(3, 2))\n'
        'optimizer = chainer.optimizers.Adam().setup(model)\n'
        'optimizer.update(model, numpy.ones((4, 3), "f"), numpy.zeros(4, "i"))\n'
        'F.dropout(F.lstm(numpy.ones((2, 3), "f"), numpy.ones((2, 12), "f"))[1])\n'
    )
    assert process.stderr == ''


def test_resize_images_interpolates():
    x = numpy.arange(4, dtype='float32').reshape(1, 1, 2, 2)
    y = chainer.functions.resize_images(x, (2, 3)).array
    numpy.testing.assert_allclose(y[0, 0], [[0, 0.5, 1], [2, 2.5, 3]])


def test_rarely_used_packages_are_imported_when_they_are_used():
    process = run_python(
        'import sys\n'
        'import lib\n'
        'names = "filelock", "scipy.io", "scipy.linalg", "scipy.sparse", "scipy.special"\n'
        'print([name for name in (*names, "google.protobuf") if name in sys.modules])\n'
        'import chainer, chainer.functions as F, numpy\n'
        'half = numpy.full((1, 1), 0.5, "f")\n'
        'print(F.erfcinv(half).array.item().__round__(4))\n'
        'normal = chainer.distributions.MultivariateNormal(loc=half[0], scale_tril=half)\n'
        'print(normal.log_prob(half[0]).array.item().__round__(4))\n'
        'from chainer.links.caffe.caffe_function import caffe_pb\n'
        'print(caffe_pb.NetParameter(name="net").name)\n'
        'import scipy.special\n'
        'print(type(scipy.special).__name__, sys.modules["scipy.special"] is scipy.special)\n'
    )
    assert process.stdout.split('\n') == ['[]', '0.4769', '-0.2258', 'net', 'module True', '']


def test_postponed_packages_that_are_needed_at_once_are_imported_at_once():
    # As cupyx.scipy.sparse needs scipy.sparse.
    process = run_python(
        'import sys\n'
        'from lib.chainer_compat import _postponed_imports\n'
        'with _postponed_imports():\n'
        '    import filelock, scipy.sparse\n'
        '    print(scipy.sparse.csr_matrix.__name__)\n'
        'print(sys.modules["scipy.sparse"] is scipy.sparse, "filelock" in sys.modules)\n'
        'print(filelock.FileLock("x").is_locked)\n'
    )
    assert process.stdout == 'csr_matrix\nTrue False\nFalse\n', process.stderr


class ValueLink(chainer.Link):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def serialize(self, serializer):
        self.value = serializer('value', self.value)


def test_hdf5_serializers_keep_strings_and_numbers(tmp_path):
    for value, empty in (('naïve "text"', ''), (3, 0), (2.5, 0.0), (True, False)):
        path = str(tmp_path / 'value.h5')
        serializers.save_hdf5(path, ValueLink(value))
        link = ValueLink(empty)
        serializers.load_hdf5(path, link)
        assert link.value == value
        assert type(link.value) is type(value)
