"""Hostile cases for the scripts, on small data, and what must come of them."""

import functools
import os
import random
import re
import shutil
from pathlib import Path

import h5py
import numpy

from tests.fuzz import mutations
from tests.helpers.caffemodels import Writer
from tests.helpers.samples import dataset, features_of, write_image, write_json
from tests.helpers.scripts import run_script

SIZE = 8
N_IMAGES = 10
# What a script may take: seconds, and bytes of memory.
LIMITS = {'seconds': 30, 'memory': 3 << 30}
TRAINING = (
    'train.py -s captions.h5 -o out/result --hidden 6 --embed 5 --batch-size 16 --epoch {epoch} '
)
TRAIN = TRAINING.format(epoch=1)
EVALUATE = 'evaluate.py -m model.h5 -s captions.h5 -i feats.mat --beam-width 2 --json out/j.json '
GENERATE = 'generate_caption.py 0.jpg 1.jpg -m model.h5 -i net.caffemodel --beam-width 3 --top 2 '
EXTRACT = 'extract_features.py -i net.caffemodel --dataset dataset.json --image-root . '
EXTRACT += '--image-size 8 -o out/feats.mat'
BYTES, HDF5 = mutations.change_bytes, mutations.change_hdf5
JSON, MATLAB, CAFFE = mutations.change_json, mutations.change_matlab, mutations.change_caffemodel
# What is run, the file that is damaged, and how that can be done.
RUNS = [
    ('preprocess_vocab.py dataset.json -o out/c.h5 --min-count 1', 'dataset.json', [JSON, BYTES]),
    ('preprocess_vocab.py train=coco.json -o out/c.h5 --min-count 1', 'coco.json', [JSON, BYTES]),
    ('preprocess_vocab.py train=list.tsv -o out/c.h5 --min-count 1', 'list.tsv', [BYTES]),
    (TRAIN + '-i feats.mat', 'captions.h5', [BYTES]),
    (TRAIN + '-i feats.mat', 'feats.mat', [MATLAB, BYTES]),
    (TRAIN + '-i feats.h5', 'feats.h5', [HDF5, BYTES]),
    (TRAIN + '-i feats.npz', 'feats.npz', [BYTES]),
    (TRAIN + '-i keyed.h5', 'keyed.h5', [HDF5, BYTES]),
    (TRAINING.format(epoch=4) + '-i feats.mat --resume', 'out/result/snapshot.h5', [BYTES]),
    (EVALUATE + '--html out/h.html', 'model.h5', [BYTES]),
    (EVALUATE + '--index index.h5', 'index.h5', [BYTES]),
    ('index_captions.py -s captions.h5 -i feats.h5 -o out/index.h5', 'feats.h5', [HDF5, BYTES]),
    (GENERATE + '--json out/j.json --html out/h.html', 'net.caffemodel', [CAFFE, BYTES]),
    (GENERATE, '0.jpg', [BYTES]),
    (GENERATE + '-l images.txt', 'images.txt', [BYTES]),
    (EXTRACT, 'dataset.json', [JSON, BYTES]),
    (EXTRACT, 'net.caffemodel', [CAFFE, BYTES]),
]
# Files with a checksum, any change of which must be found.
CHECKED = 'captions.h5', 'model.h5', 'index.h5', 'out/result/snapshot.h5'
# Values for flags. No path of a file that matters: a script may run as root and write to it.
FLAG_VALUES = [
    *map(str, [*mutations.INTEGERS, *mutations.FLOATS]), '', 'x', '..', '\n', '犬', '1e400',
    '-', '--', '@', '@dataset.json', 'out', 'fifo', '/dev/zero', 'dataset.json', 'out/new/file',
]  # fmt: skip


def make_folder(folder: Path):
    """Fills a folder with everything that ``RUNS`` read."""
    content = dataset(N_IMAGES)
    write_json(folder / 'dataset.json', content)
    images = [{'id': image['imgid'], 'file_name': image['filename']} for image in content['images']]
    captions = [(image['imgid'], image['sentences'][2]['raw']) for image in content['images']]
    annotations = [{'image_id': imgid, 'caption': text} for imgid, text in captions]
    write_json(folder / 'coco.json', {'images': images, 'annotations': annotations})
    (folder / 'list.tsv').write_text(''.join(f'{imgid}.jpg\t{text}\n' for imgid, text in captions))
    (folder / 'images.txt').write_text('0.jpg\n1.jpg\n')
    for image in content['images']:
        write_image(folder / image['filename'], image['imgid'], (20, 16))
    writer = Writer(seed=1)
    writer.convolution('conv', 'data', 3, 4, 3, pad=1)
    writer.inner_product('fc7', writer.pool('pool', 'conv', 8, 8), 4, SIZE)
    writer.write(folder / 'net.caffemodel')
    names = [image['filename'] for image in content['images']]
    numpy.savez(folder / 'feats.npz', features=features_of(content, SIZE), filenames=names)
    with h5py.File(folder / 'keyed.h5', 'w') as file:
        file.update(zip(names, features_of(content, SIZE)))
    os.mkfifo(folder / 'fifo')
    (folder / 'out').mkdir()
    for command in (
        'preprocess_vocab.py dataset.json -o captions.h5 --min-count 1',
        EXTRACT.replace('out/feats.mat', 'feats.mat'),
        EXTRACT.replace('out/feats.mat', 'feats.h5'),
        TRAINING.format(epoch=3) + '-i feats.mat',
        'index_captions.py -s captions.h5 -i feats.mat -o index.h5',
    ):
        process = run_script(*command.split(), cwd=folder)
        assert process.returncode == 0, process.stderr
    shutil.copy(folder / 'out' / 'result' / 'best.h5', folder / 'model.h5')


def make_case(number, seed):
    """Returns a case that depends on its number and the seed only.

    Returns:
        tuple: The command; the damaged file or None; and the function that damages it.
    """
    rng = random.Random(f'{seed} {number}')
    command, name, ways = RUNS[number % len(RUNS)]
    if rng.random() < 0.15:
        return _change_flags(command.split(), rng), None, None
    way = rng.choice(ways)
    return command.split(), name, lambda path: way(path, rng)


def _change_flags(command, rng):
    """Replaces an argument of a command by a hostile value, or adds a flag with such values."""
    if rng.random() < 0.3:
        position = rng.randrange(1, len(command))
        if command[position - 1] != '--epoch':  # the training might not end
            command[position] = rng.choice(FLAG_VALUES)
        return command
    values = rng.choices(FLAG_VALUES, k=rng.choice([0, 1, 1, 1, 3]))
    return [*command, rng.choice(flags_of(command[0])), *values]


@functools.cache
def flags_of(script):
    """Returns the flags of a script, but for ``--epoch``."""
    text = run_script(script, '--help').stdout
    return sorted(set(re.findall(r'(?<=\s)--[a-z][-a-z0-9]*', text)) - {'--epoch'})


def complaint_about(process, changed):
    """Returns what is wrong with how a script ended and what it changed, None if nothing is."""
    ignored = 'unreadable: ', 'note: ', 'continuing'
    lines = [line for line in process.stderr.splitlines() if not line.startswith(ignored)]
    if process.returncode == 0:
        return f'unexpected lines {lines}' if lines else None
    if process.returncode == 1:
        lines = [line for line in lines if 'is not written, since' not in line]
        return f'unexpected lines {lines}' if lines or not process.stderr else None
    if process.returncode != 2:
        return f'exit code {process.returncode}'
    if len(lines) != 1 or not lines[0].startswith('error: '):
        return f'not one line: {lines}'
    if changed and 'diverged' not in lines[0]:
        return f'changed {sorted(changed)}'
    return None


def run_case(number, seed, original, folder):
    """Runs a case on a copy of a folder.

    Args:
        number, seed (int): See :func:`make_case`.
        original (pathlib.Path): From :func:`make_folder`.
        folder (pathlib.Path): Replaced by a copy of it.

    Returns:
        tuple: The exit code; and what is wrong, with the command, None if nothing is.
    """
    copy_folder(original, folder)
    command, name, damage = make_case(number, seed)
    if '--resume' not in command:
        shutil.rmtree(folder / 'out' / 'result')
    if damage is not None:
        damage(folder / name)
    before = contents_of(folder)
    process = run_script(*command, cwd=folder, **LIMITS)
    after = contents_of(folder)
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    complaint = complaint_about(process, changed)
    is_damaged = name in CHECKED and before[name] != contents_of(original)[name]
    if is_damaged and not process.stderr.startswith(f'error: {name}: '):
        complaint = 'the damage was not found'
    if complaint is not None:
        complaint = f'case {number} of seed {seed}, {name} damaged, {command}: {complaint}'
        complaint += f'\n{process.stderr[-1500:]}'
    return process.returncode, complaint


def contents_of(folder):
    """Returns the bytes of all files in a folder, and True for other things, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else True
        for path in folder.rglob('*')
    }


def copy_folder(original, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns('fifo'))
    os.mkfifo(folder / 'fifo')
