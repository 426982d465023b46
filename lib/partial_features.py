"""Features on their way to a file, so that an interrupted extraction can go on."""

import json
import os

import h5py
import numpy


class PartialFeatures:
    """Keeps the features that are there already in ``PATH.partial``, beside their file.

    Args:
        path (str): Where the features shall lie in the end.
        n_columns (int): How many images there are, gaps in their numbers included.
        made_by (dict): How the features are made, JSON values. What was kept of others, or of
            another number of images, is dropped.
    """

    def __init__(self, path, n_columns, made_by):
        self.path = f'{path}.partial'
        self._n_columns = n_columns
        self._made_by = json.dumps(made_by)
        if not self._fits():
            self.remove()

    def _fits(self):
        try:
            with h5py.File(self.path) as file:
                return (file.attrs['made_by'] == self._made_by
                        and len(file['feats']) == len(file['done']) == self._n_columns)
        except (OSError, KeyError):
            return False    # none there, or cut off while it was written

    def done(self):
        """Returns whether each image's features are there, (n_columns,), bool."""
        if not os.path.exists(self.path):
            return numpy.zeros(self._n_columns, bool)
        with h5py.File(self.path) as file:
            return file['done'][()]

    def put(self, columns, rows):
        """Keeps the features (n, D) of some images."""
        with h5py.File(self.path, 'a') as file:
            if 'feats' not in file:
                file.attrs['made_by'] = self._made_by
                file.create_dataset('feats', (self._n_columns, rows.shape[1]), 'float32',
                                    fillvalue=numpy.nan)
                file['done'] = numpy.zeros(self._n_columns, bool)
            for column, row in zip(columns, rows):
                file['feats'][column] = row
                file['done'][column] = True

    def array(self):
        """Returns all features, (n_columns, D), float32; NaN where there are none."""
        with h5py.File(self.path) as file:
            return file['feats'][()]

    def remove(self):
        """Deletes what was kept."""
        if os.path.exists(self.path):
            os.remove(self.path)
