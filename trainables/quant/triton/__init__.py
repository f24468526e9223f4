"""Triton kernels for CUDA devices. None has run on one yet, so environment variables choose them, never a default."""
