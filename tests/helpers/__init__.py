"""What tests and benchmarks share: sample data, caffemodels, and slow, plain twins of fast code."""
