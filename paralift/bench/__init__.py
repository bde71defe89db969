"""Benchmarks: kernels in bytes a second, training steps against peers, and what the method learns."""
