"""Finding, reading and preparing photographs."""

import collections
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

from lib.errors import InputError

import numpy
import tqdm
from PIL import Image, ImageOps

# What is taken from a folder. Pillow reads more, but also calls PDF and HDF5 files pictures.
SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.gif', '.bmp', '.tif', '.tiff', '.webp',
            '.ppm', '.pgm', '.pbm', '.jp2', '.avif', '.tga')
# Pillow warns of huge pictures and odd metadata; what it can read is welcome. This holds for all
# threads, which catching warnings around each picture would not.
warnings.filterwarnings('ignore', module=r'PIL\.')


class UnreadablePhotographError(Exception):
    """A file that Pillow cannot turn into a picture; the message names it."""


def find_photographs(paths, lists):
    """Collects the photographs that files, folders and list files speak of.

    Args:
        paths (list of str): Photographs, taken whatever their names, and folders, of which
            all files with the suffix of a picture are taken, sorted by name.
        lists (list of str): Text files with such a path on each line.

    Returns:
        list of str: Paths of photographs.

    Raises:
        InputError: If a list cannot be read, or there is no photograph at all.
    """
    paths = list(paths)
    for list_path in lists:
        paths += _read_list(list_path)
    photographs = []
    for path in paths:
        photographs += _pictures_in(path) if os.path.isdir(path) else [path]
    if not photographs:
        raise InputError(f'no photographs in {", ".join(paths)}' if paths else
                         'no photographs given: name files, folders or a list (--list)')
    return photographs


def _read_list(path):
    try:
        with open(path, encoding='utf-8-sig') as file:
            return [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f'--list {path}: not a text file in UTF-8') from error


def _pictures_in(folder):
    names = sorted(name for name in os.listdir(folder)
                   if name.lower().endswith(SUFFIXES) and not name.startswith('.'))
    return [os.path.join(folder, name) for name in names]


def read_photograph(path):
    """Reads a picture the way a person sees it.

    EXIF rotation is applied and transparency laid over white; grey, palette, CMYK and 16-bit
    pictures become RGB; of an animation the first frame is taken.

    Args:
        path (str): A file in any format that Pillow reads.

    Returns:
        PIL.Image.Image: An RGB picture.

    Raises:
        UnreadablePhotographError: If there is no such file or it is no whole picture.
    """
    try:
        with Image.open(path) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged files.
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
        if str(path) not in reason:
            reason = f'{path}: {reason}'
        raise UnreadablePhotographError(' '.join(reason.split())) from error


def _to_rgb(image):
    if image.mode.startswith('I'):
        grey = numpy.clip(numpy.asarray(image) / 257, 0, 255).astype('uint8')
        image = Image.fromarray(grey)
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image)
    return image.convert('RGB')


def prepared_photographs(paths, prepare, chunk_size):
    """Reads and prepares photographs in threads, a chunk ahead of the one the caller has.

    Names the unreadable ones on standard error and passes over them.

    Args:
        paths (list of str): What to read.
        prepare (callable): What to make of each picture, in a thread.
        chunk_size (int): Photographs to yield at once.

    Yields:
        tuple of lists: Of each ``chunk_size`` paths the positions of those that could be read,
        and what was made of them.
    """
    chunks = [range(start, min(start + chunk_size, len(paths)))
              for start in range(0, len(paths), chunk_size)]
    with ThreadPoolExecutor() as pool:
        try:
            running = collections.deque()
            for chunk in [*chunks, ()]:
                running.append([(position, pool.submit(_read_and_prepare, paths[position], prepare))
                                for position in chunk])
                if len(running) > 1:
                    yield _readable(running.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _read_and_prepare(path, prepare):
    return prepare(read_photograph(path))


def _readable(running):
    positions, prepared = [], []
    for position, future in running:
        try:
            prepared.append(future.result())
            positions.append(position)
        except UnreadablePhotographError as error:
            tqdm.tqdm.write(f'unreadable: {error}', file=sys.stderr)
    return positions, prepared


def prepare(image, image_size, mean, resize='warp'):
    """Makes the network's input of a picture.

    Args:
        image (PIL.Image.Image): An RGB picture.
        image_size (int): Side of the square that the network takes, pixels.
        mean (sequence of float): Subtracted from blue, green and red, in [0, 255].
        resize (str): ``'warp'`` squeezes the whole picture into the square, as Karpathy's
            features were made; ``'crop'`` scales the shorter side and cuts out the centre.

    Returns:
        array: (3, image_size, image_size), float32, blue, green and red less the mean.
    """
    width, height = image.size
    if resize == 'crop':
        scale = image_size / min(width, height)
        image = image.resize((max(image_size, round(width * scale)),
                              max(image_size, round(height * scale))), Image.Resampling.BILINEAR)
        left, top = (image.width - image_size) // 2, (image.height - image_size) // 2
        image = image.crop((left, top, left + image_size, top + image_size))
    else:
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    blue_green_red = numpy.asarray(image, 'float32')[:, :, ::-1] - numpy.float32(mean)
    return numpy.ascontiguousarray(blue_green_red.transpose(2, 0, 1))
