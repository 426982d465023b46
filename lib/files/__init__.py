"""Files: complete or absent, and our HDF5 formats."""
