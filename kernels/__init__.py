"""Fused kernels: for each family the NumPy formula, the Numba kernel and the CUDA text."""
