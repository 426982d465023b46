"""Caffe networks: loading caffemodels, and layers that are fast without gradients."""
