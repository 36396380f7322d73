"""The build backend: a wheel with compiled kernels."""
