import os

from lib.features import FeatureSource, load_features
from lib.partial_features import PartialFeatures
from lib.photographs import prepare, read_photograph
from tests import caffemodels
from tests.samples import assert_input_error, dataset, run_script, write_json, write_photograph

import chainer
import numpy
import pytest
from chainer.links.caffe import CaffeFunction

N_IMAGES = 5


@pytest.fixture
def folder(tmp_path):
    content = dataset(n_images=N_IMAGES)
    for image in content['images']:
        image['imgid'] = 2 * image['imgid'] + 1
        write_photograph(tmp_path / image['filename'], seed=image['imgid'])
    write_json(tmp_path / 'dataset.json', content)
    caffemodels.write_googlenet(tmp_path / 'googlenet.caffemodel')
    return tmp_path


def extract(folder, *flags, layer='pool5/7x7_s1'):
    return run_script('extract_features.py', '-i', folder / 'googlenet.caffemodel', '--dataset',
                      folder / 'dataset.json', '--image-root', folder, '-o',
                      folder / 'feats.mat', '--layer', layer, *flags)


def test_column_n_holds_the_features_of_imgid_n(folder):
    process = extract(folder, '--mean', 104, 117, 123, '--resize', 'crop')
    assert process.returncode == 0
    assert process.stderr == ''
    features = load_features(folder / 'feats.mat')
    assert features.source == FeatureSource(
        'googlenet.caffemodel', 'pool5/7x7_s1', 224, [104.0, 117.0, 123.0], 'crop')
    assert features.array.shape == (2 * N_IMAGES, 8)
    network = CaffeFunction(str(folder / 'googlenet.caffemodel'))
    for number in range(N_IMAGES):
        pixels = prepare(read_photograph(folder / f'{number}.jpg'), 224, [104, 117, 123], 'crop')
        with chainer.using_config('train', False):
            expected, = network(inputs={'data': pixels[None]}, outputs=['pool5/7x7_s1'])
        numpy.testing.assert_allclose(features.array[2 * number + 1],
                                      expected.array.ravel(), rtol=1e-4, atol=1e-4)
    assert numpy.isnan(features.array[::2]).all()


def test_an_unreadable_photograph_becomes_nan(folder):
    (folder / '2.jpg').write_text('no picture')
    process = extract(folder)
    assert process.returncode == 1
    assert '2.jpg' in process.stderr
    bad = ~numpy.isfinite(load_features(folder / 'feats.mat').array).all(axis=1)
    assert numpy.flatnonzero(~bad).tolist() == [1, 3, 7, 9]


def test_goes_on_where_it_was_interrupted(folder):
    extract(folder)
    whole = load_features(folder / 'feats.mat').array
    source = FeatureSource('googlenet.caffemodel', 'pool5/7x7_s1', 224,
                           [103.939, 116.779, 123.68], 'warp')
    caffemodel = os.stat(folder / 'googlenet.caffemodel')
    made_by = {**vars(source), 'size': caffemodel.st_size, 'modified': caffemodel.st_mtime}
    # What is there already is not made again: here it is recognisably not the network's.
    PartialFeatures(str(folder / 'feats.mat'), 2 * N_IMAGES, made_by).put(
        [1, 5], numpy.full((2, 8), 7, 'float32'))
    process = extract(folder)
    assert process.returncode == 0
    assert process.stderr == f'going on: 2 of {N_IMAGES} photographs were there already\n'
    array = load_features(folder / 'feats.mat').array
    assert (array[[1, 5]] == 7).all()
    numpy.testing.assert_array_equal(array[[3, 7, 9]], whole[[3, 7, 9]])
    assert not (folder / 'feats.mat.partial').exists()


@pytest.mark.parametrize('damage', ['other', 'cut'])
def test_what_was_kept_of_something_else_is_dropped(folder, damage):
    partial = PartialFeatures(str(folder / 'feats.mat'), 2 * N_IMAGES, {'network': 'other'})
    partial.put([1], numpy.full((1, 8), 7, 'float32'))
    if damage == 'cut':
        whole = (folder / 'feats.mat.partial').read_bytes()
        (folder / 'feats.mat.partial').write_bytes(whole[:len(whole) // 2])
    process = extract(folder)
    assert process.stderr == ''
    assert (load_features(folder / 'feats.mat').array[1] != 7).any()


def test_writes_hdf5_if_the_name_says_so(folder):
    for name in 'feats.mat', 'feats.h5':
        process = extract(folder, '-o', folder / name)
        assert process.returncode == 0, process.stderr
    matlab, hdf5 = (load_features(folder / name) for name in ('feats.mat', 'feats.h5'))
    numpy.testing.assert_array_equal(matlab.array, hdf5.array)
    assert matlab.source == hdf5.source


def test_reads_lists_of_photographs(folder):
    (folder / 'list.tsv').write_text(''.join(f'{n}.jpg#0\ta dog\n' for n in range(3)))
    process = extract(folder, '--dataset', f'train={folder}/list.tsv')
    assert process.returncode == 0, process.stderr
    assert load_features(folder / 'feats.mat').array.shape == (3, 8)


def test_wrong_input_is_refused(folder):
    assert_input_error(extract(folder, layer='fc7'), '--layer fc7')
    assert_input_error(extract(folder, '--image-root', folder / 'none'), '--image-root', '0.jpg')
    for number in range(N_IMAGES):
        (folder / f'{number}.jpg').write_text('no picture')
    process = extract(folder)
    assert process.returncode == 2
    assert 'no photograph could be read' in process.stderr.splitlines()[-1]
    (folder / '3.jpg').unlink()
    assert_input_error(extract(folder), '1 of 5', '3.jpg')
    assert not (folder / 'feats.mat').exists()
