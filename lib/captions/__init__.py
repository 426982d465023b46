"""Data sets of captions: readers, tokenizer, vocabulary, ``captions.h5`` and batches."""
