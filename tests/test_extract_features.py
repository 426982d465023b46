import fcntl
import json
import os
import signal

import chainer
import numpy
import pytest
from chainer.links.caffe import CaffeFunction

from lib.captions.dataset import CaptionDataset
from lib.captions.readers import SPLITS
from lib.features.feature_source import FeatureSource
from lib.features.formats import read_features
from lib.features.images import prepare_image, read_image
from tests.helpers import caffemodels
from tests.helpers.assertions import assert_input_error
from tests.helpers.samples import dataset, write_image, write_json
from tests.helpers.scripts import run_python, run_script

N_IMAGES = 5
# The images have the odd numbers.
IMGIDS = [1, 3, 5, 7, 9]
LAYER = 'pool5/7x7_s1'


@pytest.fixture
def folder(tmp_path):
    """A folder with a caffemodel, a dataset.json and its images."""
    content = dataset(n_images=N_IMAGES)
    for image, imgid in zip(content['images'], IMGIDS):
        image['imgid'] = imgid
        write_image(tmp_path / image['filename'], seed=imgid)
    write_json(tmp_path / 'dataset.json', content)
    caffemodels.write_googlenet(tmp_path / 'googlenet.caffemodel')
    return tmp_path


def arguments(folder, layer=LAYER):
    return [
        *('-i', folder / 'googlenet.caffemodel'),
        *('--dataset', folder / 'dataset.json'),
        *('--image-root', folder),
        *('-o', folder / 'feats.mat'),
        *('--layer', layer, '--preparation', 'caffe'),
    ]


def extract(folder, *flags, layer=LAYER):
    return run_script('extract_features.py', *arguments(folder, layer), *flags)


def test_writes_features_like_caffe_function(folder):
    process = extract(folder, '--mean', 104, 117, 123, '--resize', 'crop')
    assert process.returncode == 0
    assert process.stderr == ''
    features = read_features(folder / 'feats.mat')
    assert features.source == FeatureSource(
        'googlenet.caffemodel', LAYER, 224, [104.0, 117.0, 123.0], 'crop'
    )
    assert features.rows.shape == (2 * N_IMAGES, 8)
    network = CaffeFunction(str(folder / 'googlenet.caffemodel'))
    for number, imgid in enumerate(IMGIDS):
        pixels = prepare_image(read_image(folder / f'{number}.jpg'), 224, [104, 117, 123], 'crop')
        with chainer.using_config('train', False):
            (expected,) = network(inputs={'data': pixels[None]}, outputs=[LAYER])
        numpy.testing.assert_allclose(
            features.rows[imgid], expected.array.ravel(), rtol=1e-4, atol=1e-4
        )
    assert numpy.isnan(features.rows[::2]).all()


def test_an_unreadable_image_can_be_replaced_or_left_out(folder):
    (folder / '2.jpg').write_text('not an image')
    process = extract(folder)
    assert process.returncode == 1
    unreadable, advice = process.stderr.splitlines()
    assert '2.jpg' in unreadable
    assert 'feats.mat is not written, since 1 of 5 images cannot be read' in advice
    assert '--skip-unreadable' in advice
    assert not (folder / 'feats.mat').exists()
    skipping = extract(folder, '--skip-unreadable', '-o', folder / 'skipped.h5')
    assert skipping.returncode == 0, skipping.stderr
    assert '1 images are left out; train.py' in skipping.stderr
    is_finite = numpy.isfinite(read_features(folder / 'skipped.h5').rows).all(axis=1)
    assert numpy.flatnonzero(is_finite).tolist() == [1, 3, 7, 9]
    write_image(folder / '2.jpg', seed=2)
    process = extract(folder)
    assert (process.returncode, process.stderr) == (0, 'continuing after 4 of 5 images\n')
    assert numpy.isfinite(read_features(folder / 'feats.mat').rows[[1, 3, 5, 7, 9]]).all()
    assert not [*folder.glob('*.partial')]


def test_images_that_were_left_out_are_left_out_everywhere(folder):
    (folder / 'train.tsv').write_text(''.join(f'{n}.jpg\ta dog runs\n' for n in range(12)))
    for n in range(N_IMAGES, 12):
        write_image(folder / f'{n}.jpg', seed=n)
    (folder / '7.jpg').write_bytes((folder / '6.jpg').read_bytes()[:200])
    captions, output = folder / 'captions.h5', folder / 'feats.h5'
    flags = '--val-size', 4, '--min-count', 1, '--seed', 1, '-o', captions
    run_script('preprocess_vocab.py', folder / 'train.tsv', *flags)
    (folder / '2.jpg').unlink()
    process = extract(folder, '--dataset', folder / 'train.tsv', '--skip-unreadable', '-o', output)
    assert process.returncode == 0, process.stderr
    inputs = '-s', captions, '-i', output
    small = '--hidden', 8, '--embed', 8, '--epoch', 1
    process = run_script('train.py', *inputs, *small, '-o', folder / 'result')
    assert process.returncode == 0, process.stderr
    note = '2 of 12 images have no features and are left out, the first is 2.jpg'
    assert note in process.stderr
    # What was trained is what a data set without them has.
    names = [n for n in range(12) if n not in (2, 7)]
    dataset = CaptionDataset.load(str(captions))
    features = read_features(output)
    splits = {name: SPLITS[split] for name, split in zip(dataset.filename, dataset.split)}
    for split in 'train', 'val':
        lines = (f'{n}.jpg\ta dog runs\n' for n in names if splits[f'{n}.jpg'] == split)
        (folder / f'few_{split}.tsv').write_text(''.join(lines))
    numpy.savez(
        folder / 'few.npz', features=features.rows[names], names=[f'{n}.jpg' for n in names]
    )
    files = [folder / f'few_{split}.tsv' for split in ('train', 'val')]
    run_script('preprocess_vocab.py', *files, '--min-count', 1, '-o', folder / 'few.h5')
    few = '-s', folder / 'few.h5', '-i', folder / 'few.npz'
    process = run_script('train.py', *few, *small, '-o', folder / 'few')
    assert process.returncode == 0, process.stderr
    logs = [json.loads((folder / name / 'log').read_text()) for name in ('result', 'few')]
    for key in 'main/loss', 'validation/main/loss', 'iteration':
        assert logs[0][0][key] == logs[1][0][key]
    model = '-m', folder / 'result' / 'best.h5'
    for command in (
        ['evaluate.py', *model, '--beam-width', 1],
        ['index_captions.py', '-o', folder / 'i.h5'],
    ):
        process = run_script(*command, *inputs)
        assert process.returncode == 0, process.stderr
        assert 'have no features and are left out' in process.stderr


# Runs extract_features.py and kills it once the features of two images have been kept.
EXTRACT_AND_DIE = """
import os, runpy, signal, sys
import lib
from lib.features.partial_file import PartialFeatures
add = PartialFeatures.add
def add_and_die(*arguments):
    add(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
PartialFeatures.add = add_and_die
import extract_features
extract_features.IMAGES_AT_ONCE = 2
extract_features.run_main(extract_features.main)
"""


def test_continues_after_being_killed(folder):
    inputs = arguments(folder)
    assert run_python(EXTRACT_AND_DIE, *inputs).returncode == -signal.SIGKILL
    process = run_script('extract_features.py', *inputs)
    assert process.returncode == 0
    assert process.stderr == f'continuing after 2 of {N_IMAGES} images\n'
    continued = read_features(folder / 'feats.mat').rows
    assert not [*folder.glob('*.partial')]
    assert extract(folder).stderr == ''
    numpy.testing.assert_array_equal(read_features(folder / 'feats.mat').rows, continued)


def test_continues_with_a_copy_of_the_cnn_in_a_new_folder(folder):
    output = folder / 'new' / 'feats.npy'
    inputs = [*arguments(folder), '-o', output]
    assert run_python(EXTRACT_AND_DIE, *inputs).returncode == -signal.SIGKILL
    content = (folder / 'googlenet.caffemodel').read_bytes()
    (folder / 'googlenet.caffemodel').unlink()
    (folder / 'googlenet.caffemodel').write_bytes(content)
    process = run_script('extract_features.py', *inputs)
    assert process.stderr == f'continuing after 2 of {N_IMAGES} images\n'
    assert numpy.load(output).shape == (2 * N_IMAGES, 8)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_says_what_is_kept(folder, number):
    code = EXTRACT_AND_DIE.replace('SIGKILL', number.name)
    process = run_python(code, *arguments(folder))
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    (partial,) = folder.glob('feats.mat.*.partial')
    assert process.stderr == f'stopped: the same command continues from {partial}\n'


def test_images_of_two_annotation_files_are_found_in_their_folders(folder):
    for split, number in ('train', 1), ('val', 2):
        (folder / 'images' / f'{split}2017').mkdir(parents=True)
        name = f'{number:012}.jpg'
        (folder / f'{number}.jpg').rename(folder / 'images' / f'{split}2017' / name)
        content = {
            'images': [{'id': number, 'file_name': name}],
            'annotations': [{'image_id': number, 'caption': 'A dot.'}],
        }
        write_json(folder / f'captions_{split}2017.json', content)
    files = [folder / f'captions_{split}2017.json' for split in ('train', 'val')]
    process = extract(folder, '--dataset', *files, '--image-root', folder / 'images')
    assert process.returncode == 0, process.stderr
    assert read_features(folder / 'feats.mat').keys['filenames'] == [
        '000000000001.jpg', '000000000002.jpg',
    ]  # fmt: skip


def test_features_extracted_in_another_way_are_left_alone(folder):
    run_python(EXTRACT_AND_DIE, *arguments(folder), '--resize', 'crop')
    (partial,) = folder.glob('*.partial')
    content = partial.read_bytes()
    assert extract(folder).stderr == ''
    assert partial.read_bytes() == content
    process = extract(folder, '--resize', 'crop')
    assert process.stderr == f'continuing after 2 of {N_IMAGES} images\n'


def test_features_are_extracted_once_at_a_time(folder):
    run_python(EXTRACT_AND_DIE, *arguments(folder))
    (partial,) = folder.glob('*.partial')
    with open(partial, 'ab') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert_input_error(extract(folder), f'{partial}: another process is writing to it')
    assert extract(folder).returncode == 0


def test_half_a_record_is_removed(folder):
    run_python(EXTRACT_AND_DIE, *arguments(folder))
    (partial,) = folder.glob('*.partial')
    expected = extract(folder, '-o', folder / 'expected.npy')
    assert expected.returncode == 0, expected.stderr
    partial.write_bytes(partial.read_bytes()[:-1])
    assert extract(folder).stderr == f'continuing after 1 of {N_IMAGES} images\n'
    features = read_features(folder / 'feats.mat').rows
    numpy.testing.assert_allclose(features, numpy.load(folder / 'expected.npy'), rtol=1e-4)


def test_suffix_h5_writes_hdf5(folder):
    for name in 'feats.mat', 'feats.h5':
        process = extract(folder, '-o', folder / name)
        assert process.returncode == 0, process.stderr
    matlab, hdf5 = (read_features(folder / name) for name in ('feats.mat', 'feats.h5'))
    numpy.testing.assert_array_equal(matlab.rows, hdf5.rows)
    assert matlab.source == hdf5.source
    for name in 'feats.mat', 'feats.h5':
        names = [f'{n // 2}.jpg' if n % 2 else '' for n in range(2 * N_IMAGES)]
        assert read_features(folder / name).keys == {'filenames': names}


def test_reads_lists_of_images(folder):
    (folder / 'list.tsv').write_text(''.join(f'{n}.jpg#0\ta dog\n' for n in range(3)))
    process = extract(folder, '--dataset', f'train={folder}/list.tsv')
    assert process.returncode == 0, process.stderr
    assert read_features(folder / 'feats.mat').rows.shape == (3, 8)


def test_several_layers_are_concatenated_pooled_and_averaged_with_the_mirror_image(folder):
    layers = 'pool5/7x7_s1', 'inception_5b/output'
    process = extract(folder, '--layer', *layers, '--pool', 'average', '--augment', 'flip')
    assert process.returncode == 0, process.stderr
    features = read_features(folder / 'feats.mat')
    assert features.source.layer == 'pool5/7x7_s1+inception_5b/output'
    assert (features.source.pool, features.source.augment) == ('average', 'flip')
    assert features.rows.shape == (2 * N_IMAGES, 16)
    # pool5 is the average of inception_5b.
    numpy.testing.assert_allclose(
        features.rows[IMGIDS, :8], features.rows[IMGIDS, 8:], rtol=1e-3, atol=1e-4
    )
    assert_input_error(extract(folder, '--layer', 'pool5/7x7_s1', 'fc7'), '--layer fc7')


def test_files_extracted_one_by_one_follow_one_another(folder):
    (folder / 'a.tsv').write_text('0.jpg\ta dog\n1.jpg\t...\n')  # the last has no token
    (folder / 'b.tsv').write_text('2.jpg\ta cat\n0.jpg\ta dog\n')
    for output, names in ('a', 'a'), ('b', 'b'), ('both', 'ab'):
        lists = [f'train={folder / name}.tsv' for name in names]
        process = extract(folder, '--dataset', *lists, '-o', folder / f'{output}.h5')
        assert process.returncode == 0, process.stderr
    one_by_one = [read_features(folder / f'{name}.h5').rows for name in 'ab']
    both = read_features(folder / 'both.h5').rows
    assert both.shape == (4, 8)
    numpy.testing.assert_allclose(numpy.concatenate(one_by_one), both, rtol=1e-4)


def test_invalid_input_is_rejected(folder):
    assert_input_error(extract(folder, layer='fc7'), '--layer fc7')
    assert_input_error(extract(folder, '--image-root', folder / 'none'), 'none: No such file')
    (folder / 'empty').mkdir()
    process = extract(folder, '--image-root', folder / 'empty', '--skip-unreadable')
    assert_input_error(process, '--image-root', '5 of 5 images are missing, the first is 0.jpg')
    for number in range(N_IMAGES):
        (folder / f'{number}.jpg').write_text('not an image')
    process = extract(folder)
    assert process.returncode == 2
    *unreadable, error = process.stderr.splitlines()
    assert len(unreadable) == N_IMAGES
    assert error == f'error: --image-root {folder}: none of the images can be read'
    assert not [*folder.glob('*.partial')]
    (folder / '3.jpg').unlink()
    assert_input_error(extract(folder), '1 of 5', '3.jpg', '--skip-unreadable')
    assert_input_error(extract(folder, '-o', folder / 'feats.npz'), 'ends with .h5, .mat or .npy')
    assert not (folder / 'feats.mat').exists()


@pytest.mark.parametrize('name', ['../secret.jpg', '/etc/passwd', 'a/../../secret.jpg'])
def test_images_that_are_not_below_the_image_root_are_refused(folder, name):
    root = folder / 'root'
    (root / 'a').mkdir(parents=True)
    write_image(folder / 'secret.jpg')
    (folder / 'list.tsv').write_text(f'{name}\ta dog\n')
    flags = '--dataset', f'train={folder}/list.tsv', '--image-root', root
    assert_input_error(extract(folder, *flags), os.path.normpath(name), 'is not below')


def test_sparse_numbers_of_images_are_refused_with_what_they_imply(folder):
    content = dataset(n_images=N_IMAGES)
    content['images'][3]['imgid'] = 2**31 - 1
    write_json(folder / 'dataset.json', content)
    process = extract(folder)
    assert_input_error(process, 'dataset.json', f'imgid {2**31 - 1}', f'{2**31:,}')
    assert not list(folder.glob('feats*'))
