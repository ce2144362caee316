"""Kernels and biases of a plan: rounding, and fitting to what they read."""
