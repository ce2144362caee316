"""Keras layers to operations: small functions, one per layer class."""
