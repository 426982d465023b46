"""The code of docs/extending.md works, taken from the page as it is."""

import gzip
import json
import os
import re

import numpy
import pytest

from lib.features import formats
from tests.helpers.samples import write_matlab
from tests.helpers.scripts import ROOT, run_script
from tests.helpers.training import train, validation_losses

with open(os.path.join(ROOT, 'docs', 'extending.md'), encoding='utf-8') as page:
    PAGE = page.read()
# From the name of a file on the page to its code.
FILES = dict(re.findall(r'^`([\w/.]+\.py)`\n\n```python\n(.*?)^```', PAGE, re.M | re.S))


@pytest.mark.parametrize(
    'path, name, feature_size',
    [('models/gru.py', 'GRUNetwork', 8), ('models/attention.py', 'AttentionNetwork', 98)],
)
def test_networks_on_the_page_train_and_caption(
    data, tmp_path, monkeypatch, path, name, feature_size
):
    # The scripts that are run find the network as if models/__init__.py had it.
    prelude = f'from models import NETWORKS\n{FILES[path]}\nNETWORKS["new"] = {name}\n'
    monkeypatch.setattr('tests.helpers.scripts.PRELUDE', prelude)
    rng = numpy.random.RandomState(0)
    features = write_matlab(tmp_path / 'feats.mat', rng.rand(30, feature_size).astype('float32'))
    output = tmp_path / 'result'
    flags = (
        f'--network new --epoch {{}} --scheduled-sampling 0.2 --label-smoothing 0.1 -i {features}'
    )
    process = train(data, output, flags.format(8))
    assert process.returncode == 0, process.stderr
    losses = validation_losses(output)
    assert losses[-1] < 0.8 * losses[0]
    process = run_script(
        'evaluate.py',
        *('-m', output / 'best.h5', output / 'epoch_007.h5', '-s', data / 'captions.h5'),
        *('-i', features, '--beam-width', 3, '--json', tmp_path / 'captions.json'),
    )
    assert process.returncode == 0, process.stderr
    captions = json.loads((tmp_path / 'captions.json').read_text())
    assert all(caption['caption'] for caption in captions)
    flags = f'--reward CIDEr --epoch 1 -m {output}/best.h5'
    process = train(data, tmp_path / 'reward', flags, '-i', features)
    assert process.returncode == 0, process.stderr


def test_the_reader_of_features_on_the_page_works(tmp_path, monkeypatch):
    pattern = r'```python\n(import gzip.*?)```.*?```python\n(.*?)```'
    function, line = re.search(pattern, PAGE, re.DOTALL).groups()
    names = vars(formats)
    monkeypatch.setattr(formats, 'READERS', {**formats.READERS})
    exec(function, names)
    formats.READERS |= eval('{' + line + '}', names)
    (tmp_path / 'feats.gz').write_bytes(gzip.compress(b'b.jpg\t3 4\na.jpg\t1 2\n'))
    file = formats.read_features(str(tmp_path / 'feats.gz'))
    assert file.keys == {'names': ['b.jpg', 'a.jpg']}
    numpy.testing.assert_array_equal(file.rows, [[3, 4], [1, 2]])
