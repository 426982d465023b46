"""What makes the network fast: fused functions for NumPy and CuPy, and their CUDA kernels."""
