"""Triton kernels for CUDA devices, which have not run on one yet: forced by environment variables, never the default."""
