"""Features extracted so far, so that an interrupted extraction can continue."""

import json
import os

import chainer
import h5py
import numpy

from lib.hdf5 import check_self_contained


class PartialFeatures:
    """Keeps the features extracted so far in ``PATH.partial``, beside the final file.

    Args:
        path (str): The file that all features will be written to.
        n_images (int): Number of rows, gaps between the images' numbers included.
        settings (dict): How the features are extracted, JSON values. Features extracted with
            other settings, or for another number of images, are deleted.
    """

    def __init__(self, path, n_images, settings):
        self.path = f'{path}.partial'
        self._n_images = n_images
        self._settings = json.dumps(settings)
        if not self._matches():
            self.remove()

    def _matches(self):
        try:
            with h5py.File(self.path) as file:
                check_self_contained(self.path, file)
                return (
                    file.attrs['made_by'] == self._settings
                    and len(file['feats']) == len(file['done']) == self._n_images
                )
        except (OSError, KeyError):
            return False  # missing, or cut short while it was written

    def done(self):
        """Returns whether the features of each image are there, (n_images,), bool."""
        if not os.path.exists(self.path):
            return numpy.zeros(self._n_images, bool)
        with h5py.File(self.path) as file:
            return file['done'][()]

    def put(self, imgids, features):
        """Adds the features (n, D) of some images, from any device."""
        features = chainer.get_device('@numpy').send(features)
        with h5py.File(self.path, 'a') as file:
            if 'feats' not in file:
                file.attrs['made_by'] = self._settings
                shape = self._n_images, features.shape[1]
                file.create_dataset('feats', shape, 'float32', fillvalue=numpy.nan)
                file['done'] = numpy.zeros(self._n_images, bool)
            for imgid, row in zip(imgids, features):
                file['feats'][imgid] = row
                file['done'][imgid] = True

    def read(self):
        """Returns all features, (n_images, D), float32, NaN where there are none yet."""
        with h5py.File(self.path) as file:
            return file['feats'][()]

    def remove(self):
        """Deletes the file, if there is one."""
        if os.path.exists(self.path):
            os.remove(self.path)
