"""Scripts use features in any files."""

import h5py
import numpy
import pytest

from lib.features.formats import read_features
from tests.helpers import caffemodels
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import write_image
from tests.helpers.scripts import run_script
from tests.helpers.training import SMALL, arrays_of, train

FLAGS = '--epoch 2 --standardize'


@pytest.fixture(scope='module')
def files(data, tmp_path_factory):
    """A folder with the features of the data set in one file and in several.

    Those in ``.npz`` and ``half.h5`` are shuffled and have names; the others follow one another.
    """
    folder = tmp_path_factory.mktemp('files')
    features = read_features(data / 'feats.mat').rows
    rows = numpy.random.RandomState(0).permutation(len(features))
    names = [f'{row}.jpg' for row in rows]
    numpy.savez(folder / 'all.npz', features=features[rows], filenames=names)
    numpy.savez(folder / 'half.npz', features=features[rows[:9]], filenames=names[:9])
    with h5py.File(folder / 'half.h5', 'w') as file:
        for row in rows[9:]:
            file[str(row)] = features[row]
    numpy.save(folder / '0.npy', features[:3])
    with h5py.File(folder / '1.h5', 'w') as file:
        file['features'] = features[3:16].astype('float64')
    numpy.save(folder / '2.npy', features[16:])
    return folder


@pytest.fixture(scope='module')
def result(data, files, tmp_path_factory):
    """The folder of a training."""
    output = tmp_path_factory.mktemp('result') / 'result'
    process = train_on(data, output, files / 'half.h5', files / 'half.npz')
    assert (process.returncode, process.stderr) == (0, '')
    return output


def train_on(data, output, *features):
    inputs = '-s', data / 'captions.h5', '-o', output, '-i', *features
    return run_script('train.py', *inputs, *SMALL.split(), *FLAGS.split())


def test_training_is_the_same_with_any_files(data, files, result, tmp_path):
    assert train(data, tmp_path / 'one', FLAGS).returncode == 0
    process = train_on(data, tmp_path / 'parts', *(files / f for f in ('0.npy', '1.h5', '2.npy')))
    assert process.returncode == 0
    assert process.stderr.startswith('note: ')
    assert process.stderr.endswith(
        '2.npy: features are unnamed: taken in the order of imgid, that of the data set\n'
    )
    expected = arrays_of(tmp_path / 'one' / 'best.h5')
    for folder in result, tmp_path / 'parts':
        arrays = arrays_of(folder / 'best.h5')
        assert arrays.keys() == expected.keys()
        for name in arrays.keys() - {'run', 'feature_source'}:
            numpy.testing.assert_array_equal(arrays[name], expected[name], err_msg=name)


def test_training_continues_with_the_same_features_in_other_files(data, files, tmp_path):
    assert train(data, tmp_path / 'result', FLAGS, '--epoch 1').returncode == 0
    flags = '--resume', '-i', files / '0.npy', files / '1.h5', files / '2.npy'
    process = train(data, tmp_path / 'result', FLAGS, *flags)
    assert process.returncode == 0, process.stderr
    process = train(data, tmp_path / 'result', FLAGS, '--resume', '-i', files / '0.npy')
    assert_input_error(process, '0.npy: has features of 3 images')


def test_evaluation_with_an_index_takes_the_same_files(data, files, result, tmp_path):
    index = tmp_path / 'index.h5'
    inputs = '-s', data / 'captions.h5', '-i', files / 'all.npz'
    process = run_script('index_captions.py', *inputs, '-o', index)
    assert process.returncode == 0, process.stderr
    flags = '-m', result / 'best.h5', '--index', index, '--mbr-neighbors', 5, '--beam-width', 2
    process = run_script('evaluate.py', *inputs, *flags)
    assert process.returncode == 0, process.stderr
    process = run_script('evaluate.py', *inputs, data / 'feats.mat', *flags)
    assert_input_error(process, 'feats.mat', 'was not extracted in the same way')


def test_images_are_not_captioned_by_another_network(result, tmp_path):
    cnn = caffemodels.write_googlenet(tmp_path / 'net.caffemodel')
    image = write_image(tmp_path / 'a.jpg')
    flags = '-m', result / 'epoch_002.h5', '-i', cnn
    process = run_script('generate_caption.py', image, *flags)
    assert_input_error(process, '--layer', 'half.h5, half.npz', 'net.caffemodel')
    process = run_script('generate_caption.py', image, *flags, '--layer', 'pool5/7x7_s1')
    assert process.returncode == 0, process.stderr
    assert_input_error(run_script('serve.py', *flags, '--port', 0), '--layer', 'half.h5, half.npz')


def test_files_that_do_not_fit_are_an_error_message(data, files, tmp_path):
    output = tmp_path / 'result'
    process = train_on(data, output, files / 'all.npz', files / 'half.npz')
    assert_input_error(process, '--combine is needed', 'half.npz', '.jpg')
    process = train_on(data, output, files / 'half.npz')
    assert_input_error(process, 'half.npz: no features of 21 of the 30 images')
    numpy.save(tmp_path / 'few.npy', numpy.ones((29, 8)))
    process = train_on(data, output, tmp_path / 'few.npy')
    assert_input_error(process, 'few.npy: has features of 29 images')
    assert not (output / 'best.h5').exists()
