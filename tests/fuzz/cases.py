"""Hostile cases for the scripts, on small data, and what must come of them."""

import functools
import itertools
import os
import random
import re
import shutil
import signal
from pathlib import Path

import h5py
import numpy

from lib.features.feature_source import FeatureSource
from lib.features.formats import save_features
from tests.fuzz import mutations
from tests.helpers.caffemodels import Writer
from tests.helpers.forked import run_forked
from tests.helpers.samples import dataset, features_of, write_image, write_json
from tests.helpers.scripts import run_script

SIZE, N_IMAGES = 8, 10
SOURCE = FeatureSource('net.caffemodel', 'fc7', 8, [104.0, 117.0, 123.0], 'warp')
TRAINING = (
    'train.py -s captions.h5 -o out/result --hidden 6 --embed 5 --batch-size 16 --epoch {epoch} '
)
H5, BYTES = mutations.change_hdf5, mutations.change_bytes
# What is run, the file that is damaged, and how that can be done.
RUNS = [
    ('preprocess_vocab.py dataset.json -o out/c.h5 --min-count 1', 'dataset.json',
     [mutations.change_json, BYTES]),
    ('preprocess_vocab.py train=coco.json -o out/c.h5 --min-count 1', 'coco.json',
     [mutations.change_json, BYTES]),
    ('preprocess_vocab.py train=list.tsv -o out/c.h5 --min-count 1', 'list.tsv',
     [mutations.change_text, BYTES]),
    (TRAINING.format(epoch=1) + '-i feats.mat', 'captions.h5', [H5, BYTES]),
    (TRAINING.format(epoch=1) + '-i feats.mat', 'feats.mat', [mutations.change_matlab, BYTES]),
    (TRAINING.format(epoch=1) + '-i feats.h5', 'feats.h5', [H5, BYTES]),
    (TRAINING.format(epoch=1) + '-i feats.npz', 'feats.npz', [BYTES]),
    (TRAINING.format(epoch=1) + '-i keyed.h5', 'keyed.h5', [H5, BYTES]),
    (TRAINING.format(epoch=1).replace('--hidden 6 --embed 5', '-m model.h5') + '-i feats.mat',
     'model.h5', [H5, BYTES]),
    (TRAINING.format(epoch=4) + '-i feats.mat --resume', 'out/result/snapshot.h5', [H5, BYTES]),
    ('evaluate.py -m model.h5 -s captions.h5 -i feats.mat --beam-width 2 --json out/j.json '
     '--html out/h.html', 'captions.h5', [H5, BYTES]),
    ('evaluate.py -m model.h5 -s captions.h5 -i feats.mat --beam-width 2 --json out/j.json',
     'model.h5', [H5, BYTES]),
    ('generate_caption.py 0.jpg 1.jpg -m model.h5 -i net.caffemodel --beam-width 3 --top 2 '
     '--json out/j.json --html out/h.html', 'model.h5', [H5, BYTES]),
    ('generate_caption.py 0.jpg 1.jpg -m model.h5 -i net.caffemodel --beam-width 3 --top 2 '
     '--json out/j.json --html out/h.html', 'net.caffemodel',
     [mutations.change_caffemodel, BYTES]),
    ('generate_caption.py 0.jpg 1.jpg -m model.h5 -i net.caffemodel --beam-width 3 --top 2',
     '0.jpg', [BYTES]),
    ('generate_caption.py -l images.txt -m model.h5 -i net.caffemodel --beam-width 3 --top 2',
     'images.txt', [mutations.change_text, BYTES]),
    ('index_captions.py -s captions.h5 -i feats.h5 -o out/index.h5', 'captions.h5', [H5, BYTES]),
    ('index_captions.py -s captions.h5 -i feats.h5 -o out/index.h5', 'feats.h5', [H5, BYTES]),
    ('evaluate.py -m model.h5 -s captions.h5 -i feats.mat --beam-width 2 --mbr-neighbors 3 '
     '--index index.h5 --json out/j.json', 'index.h5', [H5, BYTES]),
    ('generate_caption.py 0.jpg 1.jpg -m model.h5 -i net.caffemodel --beam-width 3 --top 2 '
     '--mbr-neighbors 3 --index index.h5', 'index.h5', [H5, BYTES]),
    ('extract_features.py -i net.caffemodel --dataset dataset.json --image-root . --image-size 8 '
     '-o out/feats.mat', 'dataset.json', [mutations.change_json, BYTES]),
    ('extract_features.py -i net.caffemodel --dataset dataset.json --image-root . --image-size 8 '
     '-o out/feats.h5', 'net.caffemodel', [mutations.change_caffemodel, BYTES]),
    ('extract_features.py -i net.caffemodel --dataset dataset.json --image-root . --image-size 8 '
     '-o out/feats.mat', 'out/feats.mat.partial', [BYTES]),
]  # fmt: skip
# Values for flags. No path of a file that matters: a script may run as root and write to it.
FLAG_VALUES = [
    *map(str, [*mutations.NUMBERS, *mutations.FLOATS]), '', 'x', '..', '\n', '犬', '1e400',
    '-', '--', '@', '@dataset.json', 'out', 'fifo', '/dev/zero', 'dataset.json', 'out/new/file',
]  # fmt: skip
FLAGS_WITHOUT_VALUE = ('--resume', '--standardize', '--sample', '--tf32', '--help')


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
    for name in 'feats.mat', 'feats.h5':
        save_features(folder / name, features_of(content, SIZE), SOURCE)
    names = [image['filename'] for image in content['images']]
    numpy.savez(folder / 'feats.npz', features=features_of(content, SIZE), filenames=names)
    with h5py.File(folder / 'keyed.h5', 'w') as file:
        file.update(zip(names, features_of(content, SIZE)))
    os.mkfifo(folder / 'fifo')
    (folder / 'out').mkdir()
    for command in (
        'preprocess_vocab.py dataset.json -o captions.h5 --min-count 1',
        TRAINING.format(epoch=3) + '-i feats.mat',
        'index_captions.py -s captions.h5 -i feats.mat -o index.h5',
    ):
        process = run_script(*command.split(), cwd=folder)
        assert process.returncode == 0, process.stderr
    shutil.copy(folder / 'out' / 'result' / 'best.h5', folder / 'model.h5')
    leave_partial_file(folder)


def leave_partial_file(folder):
    """Leaves what an extraction leaves that was killed after two images."""
    command = RUNS[-1][0]
    outcome = run_forked(command.split(), folder, die_after_first_put)
    assert outcome.code == -signal.SIGKILL, outcome


def die_after_first_put():
    import extract_features
    from lib.features.partial_file import PartialFeatures

    extract_features.IMAGES_AT_ONCE = 2
    put = PartialFeatures.put

    def put_and_die(*arguments):
        put(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    PartialFeatures.put = put_and_die


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
    """Replaces a value in a command, or adds a flag with a hostile one."""
    if rng.random() < 0.3:
        command[rng.randrange(1, len(command))] = rng.choice(FLAG_VALUES)
        return command
    flag = rng.choice(flags_of(command[0]))
    n_values = 0 if flag in FLAGS_WITHOUT_VALUE else 3 if flag == '--mean' else 1
    return [*command, flag, *(rng.choice(FLAG_VALUES) for _ in range(n_values))]


@functools.cache
def flags_of(script):
    return sorted(set(re.findall(r'(?<=\s)--[a-z][-a-z0-9]*', run_script(script, '--help').stdout)))


def complaint_about(outcome, changed):
    """Returns what is wrong with how a script ended and what it changed, None if nothing is."""
    lines = outcome.stderr.splitlines()
    others = [
        line for line in lines if not line.startswith(('unreadable: ', 'note: ', 'continuing'))
    ]
    if outcome.code == 0:
        return f'unexpected lines {others}' if others else None
    if outcome.code == 1:
        allowed = [line for line in others if 'unreadable images are NaN' not in line]
        return f'unexpected lines {allowed}' if allowed or not lines else None
    if outcome.code != 2:
        return f'exit code {outcome.code}'
    if len(others) != 1 or not others[0].startswith('error: '):
        return f'not one line: {others}'
    if changed and 'diverged' not in others[0]:
        return f'changed {sorted(changed)}'
    return None


def trains_for_long(command):
    """Returns whether a command asks for more epochs than fit into the time limit."""
    epochs = [value for flag, value in itertools.pairwise(command) if flag == '--epoch']
    return any(epoch.isdecimal() and int(epoch) > 50 for epoch in epochs)


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
    if name != 'out/feats.mat.partial':
        (folder / 'out' / 'feats.mat.partial').unlink()
    if damage is not None:
        damage(folder / name)
    before = _contents(folder)
    outcome = run_forked(command, folder)
    after = _contents(folder)
    names = before.keys() | after.keys()
    changed = {name for name in names if before.get(name) != after.get(name)}
    complaint = complaint_about(outcome, changed)
    if complaint is None or (outcome.code == -signal.SIGALRM and trains_for_long(command)):
        return outcome.code, None
    return outcome.code, (
        f'case {number} of seed {seed}, {name} damaged, {command}: {complaint}\n'
        f'{outcome.stderr[-1500:]}'
    )


def _contents(folder):
    """Returns the bytes of all files in a folder, and True for other things, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else True
        for path in folder.rglob('*')
    }


def copy_folder(original, folder):
    shutil.rmtree(folder, ignore_errors=True)
    for path in original.rglob('*'):
        target = folder / path.relative_to(original)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.is_fifo():
            os.mkfifo(target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
